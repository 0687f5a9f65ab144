"""How far one sampling step has moved from the reference's: D_f(p_k^θ ‖ p_k^ref) of ROCM (Eq. 11, Table 3).

Both are Gaussians with one covariance std² I. They differ along one line only, so every f-divergence is a function of
the distance δ = ‖mean_p − mean_q‖ / std alone:

    D_f(δ) = E_{z ~ N(0,1)} f(r),    r = p/q = exp(δz − δ²/2) under q.

Closed forms where they exist, otherwise quadrature in log-space: no sampling, so no variance.

The reduction over latent dimensions D is explicit: ``sum`` is the divergence of the joint Gaussians, ``mean`` puts
δ²/D in the place of δ², the divergence per dimension. Bounded divergences default to ``mean``: at D in the thousands,
``sum`` saturates them (value at its bound, gradient 0) after the smallest drift. The paper's β (Table 2) fit these
defaults.

Every divergence, and its gradient, is exactly 0 where p = q.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from kedge.gaussian import Gaussian, Reduction, reduce_latent
from kedge.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


class Divergence(Protocol):
    """D(p ‖ q) for two Gaussians of one std: ``[B]``, ≥ 0. Raises ValueError for a deterministic step."""

    def __call__(self, p: Gaussian, q: Gaussian) -> Tensor: ...


DIVERGENCES = Registry(
    "divergence",
    {
        "none": "kedge.divergences:NoDivergence",
        "kl": "kedge.divergences:KL",
        "hellinger": "kedge.divergences:Hellinger",
        "js": "kedge.divergences:JensenShannon",
        "js_sampled": "kedge.divergences:SampledJensenShannon",
        "fisher": "kedge.divergences:Fisher",
        "chi2": "kedge.divergences:ChiSquared",
        "tv": "kedge.divergences:TotalVariation",
        "alpha": "kedge.divergences:AlphaDivergence",
    },
    # With one covariance KL(p ‖ q) = KL(q ‖ p): one divergence, two names.
    aliases={"reverse_kl": "kl"},
)
"""The divergences by name."""


def make_divergence(name: str, reduction: Reduction | None = None, **settings: Any) -> Divergence:
    """The divergence called ``name``, or ``module:Object``; ``reduction`` None takes its own default.

    Raises:
        UnknownNameError: listing the names.
        ValueError: for a setting that this divergence does not have, or a bad value.
    """
    if reduction not in (None, "sum", "mean"):
        raise ValueError(f"reduction must be 'sum', 'mean' or none given, not {reduction!r}")
    if reduction is not None:
        settings["reduction"] = reduction
    try:
        divergence: Divergence = DIVERGENCES.get(name)(**settings)
    except TypeError as error:
        raise ValueError(f"divergence {name!r}: {error}") from error
    return divergence


@dataclass(frozen=True)
class NoDivergence:
    """0: no regularisation."""

    reduction: Reduction = "sum"

    def __call__(self, p: Gaussian, q: Gaussian) -> Tensor:
        return p.mean.new_zeros(p.mean.shape[0])


@dataclass(frozen=True)
class KL:
    """Kullback–Leibler, f = r log r: δ²/2. Equal covariances make it symmetric, so it is the reverse KL as well."""

    reduction: Reduction = "sum"

    def __call__(self, p: Gaussian, q: Gaussian) -> Tensor:
        return p.squared_distance(q, self.reduction) / 2


@dataclass(frozen=True)
class Fisher:
    """Fisher divergence E_p ‖∇ log p − ∇ log q‖² = δ²/std². It compares scores; it is not an f-divergence."""

    reduction: Reduction = "sum"

    def __call__(self, p: Gaussian, q: Gaussian) -> Tensor:
        return p.squared_distance(q, self.reduction) / p.std**2


@dataclass(frozen=True)
class Hellinger:
    """Squared Hellinger distance 1 − exp(−δ²/8) in [0, 1].

    Table 3 prints f = (√r − 1)², whose divergence is twice this, beside this closed form: the closed form is used.
    """

    reduction: Reduction = "mean"

    def __call__(self, p: Gaussian, q: Gaussian) -> Tensor:
        return -torch.expm1(-p.squared_distance(q, self.reduction) / 8)


@dataclass(frozen=True)
class JensenShannon:
    """Jensen–Shannon, exact: ln 2 − E softplus(δz − δ²/2), in [0, ln 2].

    Computed from Table 3's f, which is the same and keeps its digits for small δ. The paper estimates it from one
    sample (:class:`SampledJensenShannon`).
    """

    reduction: Reduction = "mean"

    def __call__(self, p: Gaussian, q: Gaussian) -> Tensor:
        return quadrature(jensen_shannon, p.squared_distance(q, self.reduction))


@dataclass(frozen=True)
class SampledJensenShannon:
    """The paper's estimate of the Jensen–Shannon divergence (page 4): f(p_ref(x)/p_θ(x)) at one draw x ~ p_θ.

    Unbiased with ``sum``. ``mean`` takes the ratio of the mean log-densities, the reading under which the paper's
    β = 2000 is of the order of its rewards; that is no estimate of the per-dimension divergence.

    Attributes:
        generator: where the draw comes from; None is torch's global stream, which checkpoints save.
    """

    reduction: Reduction = "mean"
    generator: torch.Generator | None = None

    def __call__(self, p: Gaussian, q: Gaussian) -> Tensor:
        squared = p.squared_distance(q, self.reduction)
        z = torch.empty_like(p.mean).normal_(generator=self.generator)
        # log q(x) − log p(x) at x = mean_p + std z, reparameterised
        log_r = -squared / 2 - reduce_latent((p.mean - q.mean) / p.std * z, self.reduction)
        return jensen_shannon(log_r.double()).to(squared.dtype)


@dataclass(frozen=True)
class ChiSquared:
    """Pearson's χ², f = (r − 1)²: exp(δ²) − 1, continued along its tangent where it nears overflow (δ² > 30)."""

    reduction: Reduction = "mean"

    def __call__(self, p: Gaussian, q: Gaussian) -> Tensor:
        return bounded_expm1(p.squared_distance(q, self.reduction))


@dataclass(frozen=True)
class TotalVariation:
    """Total variation, f = |r − 1|/2: erf(δ/√8) in [0, 1].

    It grows linearly from δ = 0, where it has a kink; the subgradient 0 is taken there.
    """

    reduction: Reduction = "mean"

    def __call__(self, p: Gaussian, q: Gaussian) -> Tensor:
        return torch.erf(distance(p.squared_distance(q, self.reduction)) / math.sqrt(8))


@dataclass(frozen=True)
class AlphaDivergence:
    """Amari's α-divergence, f = (r^α − 1 − α(r − 1)) / (α(α − 1)): (exp(α(α − 1)δ²/2) − 1) / (α(α − 1)).

    α = 1 and α = 0 are the two KL divergences, 1/2 is four times Hellinger, 2 is half of χ². Outside [0, 1] it is
    unbounded, and continued along its tangent like :class:`ChiSquared`.

    Attributes:
        order: α.
    """

    order: float = 0.5
    reduction: Reduction = "mean"

    def __call__(self, p: Gaussian, q: Gaussian) -> Tensor:
        squared = p.squared_distance(q, self.reduction)
        c = self.order * (self.order - 1)
        return squared / 2 if c == 0 else bounded_expm1(c * squared / 2) / c


@dataclass(frozen=True)
class FDivergence:
    """The f-divergence of any smooth convex f with f(1) = 0 that grows at most like r log r, by quadrature.

    Attributes:
        f: takes log r (within ±340), an elementwise function in torch. ``lambda log_r: log_r.exp() * log_r`` is KL.
    """

    f: Callable[[Tensor], Tensor]
    reduction: Reduction = "mean"

    def __call__(self, p: Gaussian, q: Gaussian) -> Tensor:
        return quadrature(self.f, p.squared_distance(q, self.reduction))


def jensen_shannon(log_r: Tensor) -> Tensor:
    """Table 3's f: ½ (r log(2r/(r + 1)) + log(2/(r + 1))), of log r."""
    log_middle = torch.logaddexp(log_r, torch.zeros_like(log_r)) - math.log(2)  # log((1 + r)/2)
    return (log_r.exp() * (log_r - log_middle) - log_middle) / 2


def distance(squared: Tensor) -> Tensor:
    """δ from δ²; its gradient at δ = 0, infinite by the chain rule, is taken as 0."""
    apart = squared > 0
    return torch.where(apart, torch.where(apart, squared, 1).sqrt(), 0)


def bounded_expm1(x: Tensor, limit: float = 30.0) -> Tensor:
    """exp(x) − 1 up to ``limit``, its tangent beyond: neither the value nor a gradient's norm overflows float32."""
    return torch.expm1(x.clamp(max=limit)) + math.exp(limit) * torch.relu(x - limit)


def quadrature(f: Callable[[Tensor], Tensor], squared: Tensor) -> Tensor:
    """E_q f(r) from δ² ``[B]``: ``[B]``, computed in float64; ``f`` takes log r.

    Split as E_q[f(r)/(1 + r)] + E_p[f(r)/(1 + r)]: each half is tame under its own Gaussian, however far apart they
    are. The trapezoidal rule converges geometrically for such integrands, where Gauss–Hermite slows down from δ ≈ 4.
    """
    z, weights = _grid(squared.device)
    delta = distance(squared.double())

    def half(log_r: Tensor) -> Tensor:
        log_r = log_r.clamp(-340, 340)  # r and r² stay finite
        return weights @ (f(log_r) * torch.sigmoid(-log_r))

    value = half(delta * z - delta**2 / 2) + half(delta * z + delta**2 / 2)
    return value.to(squared.dtype)


def _grid(device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes ``[N, 1]`` and weights ``[N]`` of the standard normal."""
    z = torch.linspace(-12, 12, 193, dtype=torch.float64, device=device)
    return z[:, None], torch.softmax(-(z**2) / 2, 0)

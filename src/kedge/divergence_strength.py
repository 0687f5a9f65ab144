"""How strong a divergence is: which of them are one regulariser, and β of equal strength.

Per dimension (reduction ``mean``), kl, hellinger and js see x = δ²/D, which is small for any drift that is used: 0.017
at a path KL of 30 nats spread over 7 steps of 512 dimensions. To first order in x all three are the same function,

    kl = x/2,    hellinger ≈ x/8,    js ≈ x/8,

so with β in the ratio 1 : 4 : 4 their gradients are the same vector but for the factor :func:`relative_slope`, which is
within 0.5 % of 1 there. Fisher weighs the steps differently (1/std²), total variation grows with √x, and the summed
Hellinger saturates: those are other regularisers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from kedge.divergences import jensen_shannon, make_divergence
from kedge.gaussian import Gaussian, Reduction

if TYPE_CHECKING:
    from torch import Tensor

_TINY = 1e-6  # x near which the slope is that at 0, to six digits


def expected(
    name: str,
    squared: float,
    dimensions: int,
    reduction: Reduction | None = None,
    *,
    std: float = 1.0,
    **settings: Any,
) -> float:
    """E D(p ‖ q) of one step whose means are δ² = ``squared`` apart, over the noise of a sampled estimate.

    Args:
        name: of the divergence, such as ``js`` or ``js_sampled``.
        squared: δ² = ‖mean_p − mean_q‖² / std², summed over dimensions: twice the step's KL in nats.
        dimensions: D.
        reduction: None takes the divergence's own.
        std: of the step; all but Fisher's are functions of δ alone.
        settings: of the divergence.

    Raises:
        ValueError: for a negative ``squared``.
    """
    if squared < 0:
        raise ValueError(f"δ² must not be negative, not {squared}")
    divergence = make_divergence(name, reduction, **settings)
    if name == "js_sampled":
        return _sampled(squared, dimensions, reduction or "mean")
    p, q = _apart(torch.tensor([squared], dtype=torch.float64), dimensions, std)
    return float(divergence(p, q))


def equal_strength(
    beta: float,
    *,
    of: str,
    to: str,
    nats: float,
    dimensions: int,
    of_reduction: Reduction | None = None,
    to_reduction: Reduction | None = None,
) -> float:
    """β for the divergence ``to`` under which its expected penalty is that of ``of`` under ``beta``, at one drift.

    Two estimators of one divergence compared at the same β compare two strengths: per dimension, the exact JS is some
    hundred times its one-sample estimate.

    Args:
        nats: the KL of one step at which they are to agree; > 0.
        dimensions: D of the latents.
        of_reduction, to_reduction: None takes the divergence's own.

    Raises:
        ValueError: if ``nats`` is not positive.
    """
    if not nats > 0:
        raise ValueError(f"the drift at which penalties are to agree must be above 0 nats, not {nats}")
    ours = expected(of, 2 * nats, dimensions, of_reduction)
    return beta * ours / expected(to, 2 * nats, dimensions, to_reduction)


def relative_slope(name: str, x: float, **settings: Any) -> float:
    """dD/dx at x = δ²/D per dimension, divided by its value at x → 0: 1 where the divergence acts as KL does.

    The gradient of D is this slope times the gradient of x, so two divergences whose slopes are 1 at every step and
    sample of a batch have the same gradient up to β.

    Args:
        name: of a divergence with a reduction ``mean`` that depends on δ² alone (kl, hellinger, js, chi2, alpha).
        x: δ²/D of one step.
    """
    return _slope(name, x, **settings) / _slope(name, _TINY, **settings)


def _slope(name: str, x: float, **settings: Any) -> float:
    squared = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    p, q = _apart(squared, 1)
    value = make_divergence(name, "mean", **settings)(p, q)
    return float(torch.autograd.grad(value.sum(), squared)[0])


def _apart(squared: Tensor, dimensions: int, std: float = 1.0) -> tuple[Gaussian, Gaussian]:
    """Two Gaussians of one standard deviation whose means are δ² apart, in equal parts along every dimension."""
    offset = std * (squared / dimensions).sqrt()[:, None].expand(-1, dimensions)
    width = torch.full([], std, dtype=squared.dtype)
    return Gaussian(offset, width), Gaussian(torch.zeros_like(offset), width)


def _sampled(squared: float, dimensions: int, reduction: Reduction) -> float:
    """E f(q/p) of the paper's one-sample estimate, by the trapezoidal rule over its noise.

    log q(x)/p(x) at x ~ p is Gaussian: of mean −δ²/2 and variance δ² with ``sum``, −δ²/2D and δ²/D² with ``mean``.
    """
    scale = dimensions if reduction == "mean" else 1
    z = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    log_r = -squared / (2 * scale) - math.sqrt(squared) / scale * z
    return float(torch.softmax(-(z**2) / 2, 0) @ jensen_shannon(log_r))

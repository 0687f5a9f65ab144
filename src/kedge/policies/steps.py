"""Sampling steps: what the network's output says about x_0 and the noise, and the Gaussian of the next latent.

    x_k = α x_0 + σ ε,        p(x_{k-1} | x_k, c) = N(α' x̂_0 + √(σ'² − s²) ε̂, s² I)

with α, σ at t_k and α', σ' at t_{k-1}. Whatever s is, the next latent's noise has the level σ' that the network
expects: of it, s is drawn afresh and √(σ'² − s²) is kept. All families take this one step. They differ in α and σ
(variance preserving, exploding, TrigFlow, flow) and in the rule that splits σ':

* :func:`renoise`: s = r σ'. r = 1 are LCM, SCM and diffusers' stochastic flow matching, between 0 and 1
  coefficients-preserving sampling (Wang and Yu 2025, arXiv 2509.05952), r = 0 is the ODE: Euler's or DDIM's step.
* :func:`ddim`: η times the standard deviation of DDPM's posterior.
* :func:`ancestral`: the same for exploding variance, k-diffusion's ancestral Euler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self, TypeVar, runtime_checkable

import torch
from torch import Tensor

from kedge.gaussian import Gaussian

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")  # of schedulers that name one
FLOW = "flow_prediction"  # of flow matching, where there is no other


class Step(Protocol):
    """The constants of one sampling step of a family, and what it makes of the network's output.

    With a property ``x0_weight``, ∂mean / ∂x̂_0 at a fixed x_k (``[]``), evaluations also measure how far the predicted
    pictures moved (:mod:`kedge.policies.distance`).
    """

    @property
    def timestep(self) -> Tensor:
        """``[]``: the time that the network takes as its input."""

    def on(self, device: torch.device) -> Self:
        """With the timestep on ``device``, so that no step waits for it. The other constants stay on the CPU."""

    def network_input(self, x: Tensor) -> Tensor:
        """x_k as the network wants to see it."""

    def gaussian(self, x: Tensor, output: Tensor) -> Gaussian:
        """``p(x_{k-1} | x_k, c)`` from the denoiser's output at x_k."""


@runtime_checkable
class PredictingStep(Protocol):
    """A step that says which picture the network's output means."""

    def predicted_x0(self, x: Tensor, output: Tensor) -> Tensor:
        """x̂_0 from the network's output at x_k."""


@dataclass(frozen=True)
class ScheduledStep:
    """What the steps of every family have: :class:`Step` but for ``gaussian``.

    Attributes:
        prediction_type: what the network predicts, one of :data:`PREDICTION_TYPES` or :data:`FLOW`.
        timestep: t_k as the network knows it from its training: int64, or float32 for continuous times.
    """

    prediction_type: str
    timestep: Tensor

    def on(self, device: torch.device) -> Self:
        """With the timestep on ``device``."""
        return replace(self, timestep=self.timestep.to(device))

    def network_input(self, x: Tensor) -> Tensor:
        """x_k itself."""
        return x


AnyStep = TypeVar("AnyStep", bound=ScheduledStep)


def schedule_of(
    cls: type[AnyStep],
    timesteps: Sequence[Tensor] | Tensor,
    constants: Callable[[int, Tensor], tuple[Tensor, ...]],
    *,
    prediction_type: str,
    dtype: torch.dtype,
) -> dict[int, AnyStep]:
    """Steps K, …, 1 of a family, from the noise to the image.

    Args:
        cls: the family's step.
        timesteps: t_K, …, t_1, each ``[]``.
        constants: maps i = 0, …, K − 1 and t_{K-i} to the other fields of ``cls`` in their order, each ``[]``.
        dtype: what the constants are rounded to.
    """
    schedule = {}
    for i, timestep in enumerate(timesteps):
        rounded = [constant.to(dtype) for constant in constants(i, timestep)]
        schedule[len(timesteps) - i] = cls(prediction_type, timestep, *rounded)
    return schedule


def check_steps(steps: int, most: int) -> None:
    """Raises ValueError for a number of steps that is not from 1 to the model's ``most``."""
    if not 1 <= steps <= most:
        raise ValueError(f"model.steps must be between 1 and {most} for this model, not {steps}")


def predicted_x0(output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, prediction_type: str) -> Tensor:
    """x_0 from the output at ``x = α x_0 + σ ε``."""
    if prediction_type == "epsilon":
        return (x - sigma * output) / alpha
    if prediction_type == "v_prediction":  # v = α ε − σ x_0
        return alpha * x - sigma * output
    if prediction_type == FLOW:  # v = ε − x_0, and α + σ = 1
        return x - sigma * output
    return output


def predicted_noise(output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, prediction_type: str) -> Tensor:
    """ε from the output at ``x = α x_0 + σ ε``."""
    if prediction_type == "epsilon":
        return output
    if prediction_type == "v_prediction":
        return alpha * output + sigma * x
    if prediction_type == FLOW:
        return x + alpha * output
    return (x - alpha * output) / sigma


class Noise(NamedTuple):
    """The noise of a level σ' in two parts, carried² + fresh² = σ'², each ``[]``.

    Attributes:
        carried: the weight of ε̂, the noise that x_k has already.
        fresh: s, the standard deviation of the noise that is drawn.
    """

    carried: Tensor
    fresh: Tensor

    def settled(self) -> Noise:
        """The same without fresh noise, for the last step."""
        return Noise(self.carried, torch.zeros([]))


def renoise(next_sigma: Tensor, share: float) -> Noise:
    """s = r σ'.

    Args:
        share: r.

    Raises:
        ValueError: for r outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"model.renoise must lie between 0 (deterministic) and 1 (all noise is fresh), not {share}")
    return Noise(next_sigma * (1 - share**2) ** 0.5, next_sigma * share)


def ddim(product: Tensor, next_product: Tensor, eta: float) -> Noise:
    """s² = η² (1 − ᾱ')/(1 − ᾱ) (1 − ᾱ/ᾱ'): Song et al. 2021, Eq. (16).

    Args:
        product, next_product: ᾱ and ᾱ', the squares of α and α'.

    Raises:
        ValueError: for η outside [0, 1].
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"model.eta must lie between 0 (deterministic) and 1 (as noisy as DDPM), not {eta}")
    variance = (1 - next_product) / (1 - product) * (1 - product / next_product)
    std = eta * variance**0.5
    return Noise((1 - next_product - std**2) ** 0.5, std)


def ancestral(sigma: Tensor, next_sigma: Tensor) -> Noise:
    """s² = σ'² (σ² − σ'²)/σ², where α = 1."""
    std = (next_sigma**2 * (sigma**2 - next_sigma**2) / sigma**2) ** 0.5
    return Noise((next_sigma**2 - std**2) ** 0.5, std)


@dataclass(frozen=True)
class GaussianStep(ScheduledStep):
    """The constants of step k, all ``[]`` on the CPU, and what is done with them.

    Attributes:
        alpha, sigma: α and σ at t_k.
        next_alpha: α' at t_{k-1}.
        carried: √(σ'² − s²), the weight of the predicted noise.
        std: s; 0 at the last step.
    """

    alpha: Tensor
    sigma: Tensor
    next_alpha: Tensor
    carried: Tensor
    std: Tensor

    @property
    def x0_weight(self) -> Tensor:
        """∂mean / ∂x̂_0 at a fixed x_k, with ε̂ = (x_k − α x̂_0)/σ."""
        return self.next_alpha - self.carried * self.alpha / self.sigma

    def predicted_x0(self, x: Tensor, output: Tensor) -> Tensor:
        """x̂_0 from the network's output at x_k."""
        return predicted_x0(output, x, alpha=self.alpha, sigma=self.sigma, prediction_type=self.prediction_type)

    def predicted_noise(self, x: Tensor, output: Tensor) -> Tensor:
        """ε̂ from the network's output at x_k."""
        return predicted_noise(output, x, alpha=self.alpha, sigma=self.sigma, prediction_type=self.prediction_type)

    def gaussian(self, x: Tensor, output: Tensor) -> Gaussian:
        """``p(x_{k-1} | x_k, c)`` from the network's output at x_k."""
        mean = self.next_alpha * self.predicted_x0(x, output)
        if self.carried:  # at 0 the term would only cost a tensor of the latent's size
            mean = mean + self.carried * self.predicted_noise(x, output)
        return Gaussian(mean, self.std)

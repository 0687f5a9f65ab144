"""The one sampling step of all families: from x̂_0 and ε̂ to the Gaussian of the next latent.

    x_k = α x_0 + σ ε,        p(x_{k-1} | x_k, c) = N(α' x̂_0 + √(σ'² − s²) ε̂, s² I)

with α, σ at t_k and α', σ' at t_{k-1}. Whatever s is, the next latent's noise has the level σ' that the network
expects: of it, s is drawn afresh and √(σ'² − s²) is kept. Families differ in α and σ (variance preserving, exploding,
TrigFlow, flow) and in the rule that splits σ':

* :func:`renoise`: s = r σ'. r = 1 are LCM, SCM and diffusers' stochastic flow matching, between 0 and 1
  coefficients-preserving sampling (Wang and Yu 2025, arXiv 2509.05952), r = 0 is the ODE: Euler's or DDIM's step.
* :func:`ddim`: η times the standard deviation of DDPM's posterior.
* :func:`ancestral`: the same for exploding variance, k-diffusion's ancestral Euler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kedge.gaussian import Gaussian
from kedge.policies.steps import ScheduledStep, predicted_noise, predicted_x0


class Noise(NamedTuple):
    """The noise of a level σ' in two parts, carried² + fresh² = σ'², each ``[]``.

    Attributes:
        carried: the weight of ε̂, the noise that x_k has already.
        fresh: s, the standard deviation of what is drawn.
    """

    carried: Tensor
    fresh: Tensor

    def settled(self) -> Noise:
        """Without the draw, as the last step is."""
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
        if self.carried:  # costs a tensor of the latent's size
            mean = mean + self.carried * self.predicted_noise(x, output)
        return Gaussian(mean, self.std)

"""One sampling step of a generator is a Gaussian: the object everything else is a function of.

``p(x_{k-1} | x_k, c) = N(mean, std² I)`` for latent consistency models (ROCM, Algorithm 1 and Eq. 9) and for
DDIM with η > 0 alike. Divergences, log-probabilities, PPO ratios and preference margins are all written against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


Reduction = Literal["sum", "mean"]


def reduce_latent(x: Tensor, reduction: Reduction) -> Tensor:
    """Reduce ``[B, ...]`` to ``[B]`` over every latent dimension, by ``sum`` or ``mean``."""
    flat = x.flatten(1)
    if reduction == "sum":
        return flat.sum(1)
    if reduction == "mean":
        return flat.mean(1)
    raise ValueError(f"reduction must be 'sum' or 'mean', not {reduction!r}")


@dataclass(frozen=True)
class Gaussian:
    """An isotropic Gaussian over latents.

    Attributes:
        mean: ``[B, ...]``, float32 (float64 in tests).
        std: ``[]``, the same for every latent dimension and sample; 0 marks the deterministic last step.
    """

    mean: Tensor
    std: Tensor

    @property
    def deterministic(self) -> bool:
        """True for the last step (k = 1), which has no log-probability and no divergence."""
        return bool(self.std == 0)

    def sample(self, noise: Tensor) -> Tensor:
        """Reparameterised draw ``mean + std · noise``; ``noise`` is ``[B, ...]`` standard normal."""
        return self.mean + self.std * noise

    def log_prob(self, x: Tensor, reduction: Reduction) -> Tensor:
        """Log-density of ``x``, ``[B]``; ``mean`` divides by the number of latent dimensions D.

        Raises:
            ValueError: if the step is deterministic.
        """
        if self.deterministic:
            raise ValueError("the last step (k = 1) is deterministic: it has no log-probability")
        log_density = -((x - self.mean) ** 2) / (2 * self.std**2) - self.std.log() - 0.5 * math.log(2 * math.pi)
        return reduce_latent(log_density, reduction)

    def squared_distance(self, other: Gaussian, reduction: Reduction) -> Tensor:
        """δ² = ‖mean − other.mean‖² / std², ``[B]``; ``mean`` gives δ²/D.

        Raises:
            ValueError: if either step is deterministic, where δ is undefined.
        """
        if self.deterministic or other.deterministic:
            raise ValueError("the last step (k = 1) is deterministic: it has no divergence")
        return reduce_latent((self.mean - other.mean) ** 2, reduction) / self.std**2

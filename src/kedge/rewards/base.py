"""What a reward is: a function from images and prompts to one score a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Reward(Protocol):
    """A scorer.

    Attributes:
        name: as in the registry, for logs and tables.
        differentiable: whether gradients with respect to the images flow (and mean something).
    """

    name: str
    differentiable: bool

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score ``images`` ``[B, 3, H, W]`` in [0, 1] for ``prompts`` (B of them); returns ``[B]`` float32."""

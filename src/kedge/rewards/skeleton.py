"""A reward's network before its weights are here, to plan what a run will take.

A reward names in its :class:`~kedge.rewards.spec.RewardSpec` a function that draws it on the meta device, where tensors
have shapes and no values: memory and time are counted as if it were scoring. Without one, they are said to be unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

Paths = Mapping[str, Path]
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Skeleton:
    """What a reward loads, and what it does with pictures.

    Attributes:
        network: on the meta device, in the precision it will have; None for a reward that loads none.
        score: images ``[B, 3, H, W]`` on the meta device to ``[B]``, with graph if the reward has a gradient. What is
            computed once for a prompt and kept is left out. None for a score that takes next to nothing there.
    """

    network: nn.Module | None = None
    score: Callable[[Tensor], Tensor] | None = None


def no_network(paths: Paths, dtype: torch.dtype) -> Skeleton:
    """The skeleton of a reward that loads nothing, and computes little beside a network.

    Args:
        paths: of the reward's parts, by key: those that are on this machine.
        dtype: of the networks.
    """
    return Skeleton()


def on_meta(build: Callable[[], Model], dtype: torch.dtype) -> Model:
    """A frozen network without weights."""
    with torch.device("meta"):
        return build().to(dtype).eval().requires_grad_(False)

"""A reward as it would be, on the meta device: each of its terms by the skeleton that its own entry names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from kedge.registry import load_object
from kedge.rewards import REWARDS, Term, parse
from kedge.rewards.skeleton import Skeleton
from kedge.rewards.sources import locate_here


class MetaReward:
    """Can be called on the meta device in place of the real reward.

    Attributes:
        networks: what would be loaded, by name.
        unknown: terms that name no skeleton, callables of the user's own among them; they take nothing here.
    """

    differentiable = True

    def __init__(self, text: str, dtype: torch.dtype):
        self.name, self.networks, self.unknown = text, dict[str, nn.Module](), list[str]()
        self._skeletons: list[Skeleton] = []
        for name, skeleton in self._drawn(text, dtype):
            self._skeletons.append(skeleton)
            if skeleton.network is not None:
                self.networks[f"reward {name}"] = skeleton.network

    def _drawn(self, text: str, dtype: torch.dtype) -> Iterator[tuple[str, Skeleton]]:
        for term in parse(text):
            skeleton = draw(term, dtype)
            if skeleton is None:
                self.unknown.append(term.name)
            else:
                yield term.name, skeleton

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """``[B]`` from ``[B, 3, H, W]`` on the meta device."""
        total = images.float().flatten(1).mean(1)  # some gradient, also where no network is known
        for skeleton in self._skeletons:
            if skeleton.score is not None:
                total = total + skeleton.score(images)
        return total


def draw(term: Term, dtype: torch.dtype) -> Skeleton | None:
    """The skeleton of one term; None if its entry names none, or it has no entry."""
    spec = REWARDS.get(term.name)
    if spec is None or spec.skeleton is None:
        return None
    paths = locate_here(spec, term.source)
    skeleton: Skeleton = load_object(spec.skeleton)(paths, dtype)
    return skeleton

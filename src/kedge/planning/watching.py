"""The cost of watching a run: held-out evaluations, and grids of samples.

Both go along the tuned model's own trajectories with the base's step beside each of its own (path KL, change of x̂_0),
so that a sampling step is two passes through the network. An evaluation draws ``watch.pictures`` of every prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kedge.config import RunConfig
from kedge.planning.operations import OperationCost, count_operations, counted
from kedge.planning.skeletons import MetaReward, OnePrompt
from kedge.policies.latent import LatentPolicy

PROMPT = "a photo of a fox"


@dataclass(frozen=True)
class LookCost:
    """The cost of a batch of ``watch.batch_size`` pictures.

    Attributes:
        draw: all sampling steps of the tuned model, the base's beside them, and decoding.
        base: the same for the base model alone.
        score: scoring by every reward.
    """

    draw: OperationCost
    base: OperationCost
    score: OperationCost

    @property
    def peak(self) -> float:
        """Bytes at the worst moment, besides what was there before."""
        return max(self.draw.peak, self.score.peak)


def count_look(policy: LatentPolicy, rewards: Sequence[MetaReward], prompt: OnePrompt, config: RunConfig) -> LookCost:
    """Count a batch of pictures on the meta device; each sampling step costs what the others do."""
    batch, steps = config.watch.batch_size, config.model.steps
    x, cond = torch.empty(batch, *policy.latent_shape, device="meta"), prompt.repeated(batch)

    @torch.no_grad()
    def both() -> None:
        policy.pair(x, 1, cond)

    @torch.no_grad()
    def alone() -> None:
        policy.transition(x, 1, cond)

    with torch.no_grad(), count_operations() as decoding:
        images = policy.decode(x)

    @torch.no_grad()
    def score() -> None:
        for reward in rewards:
            reward(images, [PROMPT] * batch)

    drawn = decoding.cost
    return LookCost(counted(both) * steps + drawn, counted(alone) * steps + drawn, counted(score))

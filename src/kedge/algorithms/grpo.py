"""GRPO for few-step models: groups of one prompt, advantages relative to the group, an exact KL to the base.

Shao et al. 2024 (arXiv 2402.03300) for language, Liu et al. 2025 (Flow-GRPO, arXiv 2505.05470) for flow models. Of
these the grouping, the advantage and the penalty are kept. The steps are Gaussians of one standard deviation, so the KL
is not estimated but exact; steps, ratios and clip are PPO's. Deviations, numbered: docs/algorithms/grpo.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kedge.algorithms.advantages import EPSILON, Advantages
from kedge.algorithms.base import Context
from kedge.algorithms.experience import Experience, collect
from kedge.algorithms.ppo import PPO
from kedge.algorithms.workload import Workload
from kedge.policies.base import Backprop

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GroupAdvantages(Advantages):
    """Each reward beside those of its own group, ``buffer_size`` samples in a row; nothing is remembered.

    A prompt that is drawn twice for one batch has two groups, which know nothing of each other.
    """

    def _standardise(
        self, context: Context, prompts: list[str], rewards: NDArray[np.float64], memory: str
    ) -> NDArray[np.float64]:
        groups = rewards.reshape(-1, self.buffer_size)
        deviations = groups - groups.mean(axis=1, keepdims=True)
        standardised: NDArray[np.float64] = deviations / (groups.std(axis=1, keepdims=True) + EPSILON)
        return standardised.reshape(-1)

    def slopes(self, context: Context, prompts: Sequence[str], rewards: Tensor) -> Tensor:
        """∂A/∂r, ``[N]`` float32: 1 / (std of the group + 1e-6)."""
        spreads = rewards.double().reshape(-1, self.buffer_size).std(dim=1, correction=0)
        return (1 / (spreads + EPSILON)).repeat_interleave(self.buffer_size).float()

    def warning(self, samples: int, batches: int, prompts: int) -> str | None:
        """None: however seldom a prompt is seen, its group is there."""
        return None


@dataclass(frozen=True)
class GRPO(PPO):
    """PPO over groups of pictures of one prompt. Rewards need no gradient.

    Attributes:
        group_size: pictures of each prompt in a batch of experience; their mean and standard deviation are what a
            reward is compared with, in place of the last rewards: normalise, buffer_size and min_count mean nothing.
        kl_weight: β; 0.04 is Flow-GRPO's, per latent dimension there and here.
    """

    group_size: int = 8
    kl_weight: float = 0.04

    def __post_init__(self) -> None:
        if self.group_size < 2:
            raise ValueError(f"group_size must be 2 or more, not {self.group_size}: one picture has no group")
        super().__post_init__()
        for name in ("normalise", "buffer_size", "min_count"):
            if getattr(self, name) != getattr(PPO(), name):
                raise ValueError(f"{name} means nothing to grpo, which compares within groups: set group_size")

    @property
    def advantages(self) -> GroupAdvantages:
        """Every ``group_size`` samples of the experience are a group."""
        return GroupAdvantages("prompt", self.group_size, self.group_size, self.advantage_clip)

    def workload(self, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
        """PPO's.

        Raises:
            ValueError: if a batch of experience cannot be divided into groups.
        """
        work = super().workload(batch_size, accumulation, steps, backprop)
        if work.samples % self.group_size:
            raise ValueError(
                f"a batch of experience of {work.samples} samples (batch_size × accumulation × minibatches) is no "
                f"whole number of groups of {self.group_size}: change one of them"
            )
        return work

    def explore(self, context: Context, samples: int) -> Experience:
        """``samples / group_size`` fresh prompts, each drawn ``group_size`` times from noise of its own."""
        prompts = []
        for prompt in context.prompts.take(samples // self.group_size):
            prompts += [prompt] * self.group_size
        chunk = self.sample_batch_size or context.batch_size
        return collect(context, prompts, context.noise(samples), chunk=chunk, target=self.goal)

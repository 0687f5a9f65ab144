"""Advantages: rewards brought to a common scale, per prompt, over the run, or over the batch.

RLCM (page 6, "Policy Gradient RLCM") and DDPO normalise each reward by a running mean and standard deviation of its own
prompt, because the average score differs widely between prompts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from kedge.algorithms.base import Context

if TYPE_CHECKING:
    from torch import Tensor

Scope = Literal["prompt", "run", "batch", "none"]
Buffers = dict[str, list[float]]
EPSILON = 1e-6
STATE = "rewards"  # of Context.state
ALONE = 1  # samples that have nothing to be compared with


def standardise(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(r − mean) / (std + 1e-6)`` over the batch, ``[N]``; population standard deviation."""
    standardised: NDArray[np.float64] = (rewards - rewards.mean()) / (rewards.std() + EPSILON)
    return standardised


def zero_share(advantages: Tensor) -> Tensor:
    """``[N]`` 1 where the advantage is 0 (up to rounding), so that the sample has no gradient; 0 elsewhere."""
    return (advantages.abs() < EPSILON).float()


def standardise_running(
    rewards: NDArray[np.float64],
    keys: Sequence[str],
    buffers: Mapping[str, list[float]],
    *,
    buffer_size: int,
    min_count: int,
) -> tuple[NDArray[np.float64], Buffers]:
    """Standardise each reward by the last ``buffer_size`` rewards under the same key, this batch's included.

    A key with fewer than ``min_count`` rewards, or with this one only, takes the statistics of the whole batch instead.

    Args:
        rewards: ``[N]``.
        keys: N of them: prompts, kept whole.
        buffers: what is remembered from earlier batches; not changed.

    Returns:
        The standardised rewards ``[N]``, and the buffers to remember.
    """
    rows = defaultdict(list)
    for row, key in enumerate(keys):
        rows[key].append(row)
    result, remembered = standardise(rewards), dict(buffers)
    for key, indices in rows.items():
        buffer = [*buffers.get(key, ()), *rewards[indices].tolist()][-buffer_size:]
        remembered[key] = buffer
        if len(buffer) >= max(min_count, ALONE + 1):  # a reward compared with itself is always average
            result[indices] = (rewards[indices] - np.mean(buffer)) / (np.std(buffer) + EPSILON)
    return result, remembered


@dataclass(frozen=True)
class Advantages:
    """How rewards become advantages. Statistics are those of all processes together.

    Attributes:
        scope: what a reward is compared with: `prompt` (a running buffer for each prompt), `run` (one running buffer
            for all prompts), `batch` (this batch only), or `none` (the reward itself).
        buffer_size: how many rewards a running buffer remembers.
        min_count: a buffer with fewer rewards than this is not used yet; the batch's statistics are.
        clip: largest advantage in absolute value; null does not clip.
    """

    scope: Scope = "prompt"
    buffer_size: int = 16
    min_count: int = 16
    clip: float | None = 10.0

    def __post_init__(self) -> None:
        if self.scope not in get_args(Scope):
            raise ValueError(
                f"the scope of normalisation must be one of {', '.join(get_args(Scope))}, not {self.scope!r}"
            )
        if not 1 <= self.min_count <= self.buffer_size:
            raise ValueError(f"min_count must lie between 1 and buffer_size ({self.buffer_size}), not {self.min_count}")
        if self.buffer_size == ALONE and self.scope in ("prompt", "run"):
            raise ValueError("a buffer of one reward compares it with itself: set buffer_size to 2 or more")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"the advantage clip must be positive, or null for none, not {self.clip}")

    def check_experience(self, samples: int, batches: int) -> None:
        """Refuse a run in which every advantage would be exactly 0.

        Args:
            samples: in one batch of experience, of all processes together.
            batches: of experience in the whole run.

        Raises:
            ValueError: saying what to set instead.
        """
        if samples > ALONE or self.scope == "none":
            return
        reached = max(self.min_count, ALONE + 1)
        if self.scope == "run" and batches >= reached:
            return
        more = (
            "one sample has no advantage: there is nothing in its batch of experience to compare its reward with. Set "
            "training.batch_size, or training.accumulation, to 2 or more (32 samples are usual)"
        )
        if self.scope == "run":
            raise ValueError(
                f"{more}, or train longer: the {batches} rewards of this run never reach min_count ({reached})"
            )
        raise ValueError(f"{more}, or algorithm.normalise=run, which compares with the last rewards of the run")

    def warning(self, samples: int, batches: int, prompts: int) -> str | None:
        """What to tell the user of a run whose prompts are seen too seldom to be compared with themselves, or None.

        Args:
            samples, batches: as in :meth:`check_experience`.
            prompts: how many different ones there are.
        """
        seen = samples * batches / prompts
        if self.scope != "prompt" or seen >= self.min_count:
            return None
        return (
            f"each of the {prompts} prompts is seen about {seen:.3g} times, fewer than min_count ({self.min_count}): "
            f"rewards are compared with the {samples} of their batch, across prompts. algorithm.normalise=run compares "
            "with many more; a smaller algorithm.min_count, or fewer prompts, with their own prompt's"
        )

    def __call__(self, context: Context, prompts: Sequence[str], rewards: Tensor) -> Tensor:
        """Advantages ``[N]`` float32 of this process's samples; remembers the rewards in ``context.state``."""
        everyone = self.everyone(context, prompts, rewards, STATE)
        return self.share(context, everyone, rewards)

    def everyone(self, context: Context, prompts: Sequence[str], rewards: Tensor, memory: str) -> NDArray[np.float64]:
        """Of all processes together and before the clip; remembers the rewards in ``context.state[memory]``."""
        pairs = context.gather(list(zip(prompts, rewards.tolist(), strict=True)))
        values = np.array([reward for _, reward in pairs], dtype=np.float64)
        return self._standardise(context, [prompt for prompt, _ in pairs], values, memory)

    def share(self, context: Context, everyone: NDArray[np.float64], rewards: Tensor) -> Tensor:
        """This process's part of ``everyone``, clipped: ``[N]`` float32 on the device of its ``rewards``."""
        if self.clip is not None:
            everyone = everyone.clip(-self.clip, self.clip)
        first = context.process * len(rewards)
        own = everyone[first : first + len(rewards)]
        return torch.as_tensor(own, dtype=torch.float32, device=rewards.device)

    def _standardise(
        self, context: Context, prompts: list[str], rewards: NDArray[np.float64], memory: str
    ) -> NDArray[np.float64]:
        if self.scope == "none":
            return rewards
        if self.scope == "batch":
            return standardise(rewards)
        keys = prompts if self.scope == "prompt" else ["*"] * len(prompts)
        result, context.state[memory] = standardise_running(
            rewards,
            keys,
            context.state.get(memory, {}),
            buffer_size=self.buffer_size,
            min_count=self.min_count,
        )
        return result

    def slopes(self, context: Context, prompts: Sequence[str], rewards: Tensor) -> Tensor:
        """∂A/∂r, ``[N]`` float32: what a unit of reward is worth to samples that have just been given their advantages.

        The statistics are held fixed, and the clip is left out.
        """
        everyone = np.array(context.gather(rewards.tolist()), dtype=np.float64)
        spreads = np.full(len(rewards), 1.0 - EPSILON if self.scope == "none" else everyone.std())
        for row, prompt in enumerate(prompts if self.scope in ("prompt", "run") else ()):
            buffer = context.state[STATE][prompt if self.scope == "prompt" else "*"]
            if len(buffer) >= max(self.min_count, ALONE + 1):
                spreads[row] = np.std(buffer)
        return torch.as_tensor(1 / (spreads + EPSILON), dtype=torch.float32, device=rewards.device)

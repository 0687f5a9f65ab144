"""What a reward is: a function from images and prompts to one score a sample; and whether it kept to that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from kedge.user_code import UserCodeError

if TYPE_CHECKING:
    from torch import Tensor


class RewardError(UserCodeError):
    """A reward failed, or did not keep to what a reward is; the message names it."""


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


@runtime_checkable
class PartedReward(Protocol):
    """A reward that also says what it is made of.

    Attributes:
        summands: the weight of each part that the score is a sum of, as it was written; empty if it is no sum.
    """

    summands: Mapping[str, float]

    def in_parts(self, images: Tensor, prompts: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """The score, and what it is made of by name, unweighted; each ``[B]``, with graph if the reward has one."""


def in_parts(reward: Reward, images: Tensor, prompts: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """``reward``'s score and its parts, of which most rewards have none."""
    return reward.in_parts(images, prompts) if isinstance(reward, PartedReward) else (reward(images, prompts), {})


class Sums:
    """Scores by name, added up until they are taken; nothing waits for the device before that."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor | float, int]] = {}

    def add(self, name: str, scores: Tensor) -> None:
        """Take in scores ``[B]``."""
        total, count = self._sums.get(name, (0.0, 0))
        self._sums[name] = total + scores.detach().double().sum(), count + len(scores)

    def take(self) -> dict[str, tuple[float, int]]:
        """Sum and number of the scores of each name since the last time."""
        sums, self._sums = self._sums, {}
        return {name: (float(total), count) for name, (total, count) in sums.items()}


def means_of(processes: Sequence[Mapping[str, tuple[float, int]]]) -> dict[str, float]:
    """Mean of each name over all processes, from their sums and counts; what no process has counted is left out."""
    totals: dict[str, tuple[float, int]] = {}
    for sums in processes:
        for name, (one, number) in sums.items():
            total, count = totals.get(name, (0.0, 0))
            totals[name] = total + one, count + number
    means = {}
    for name, (total, count) in totals.items():
        if count:
            means[name] = total / count
    return means


def check_shape(name: str, scores: Tensor, prompts: Sequence[str]) -> Tensor:
    """``scores`` as they are, if there is one number for each prompt.

    Raises:
        RewardError: for any other shape than ``[B]``.
    """
    if scores.shape != (len(prompts),):
        raise RewardError(
            f"reward {name!r} returned shape {tuple(scores.shape)} for {len(prompts)} images: "
            f"return one number for each, ({len(prompts)},)"
        )
    return scores


def checked_scores(name: str, scores: Tensor, prompts: Sequence[str]) -> Tensor:
    """``scores`` as they are, if there is one finite number for each prompt; it waits for the device.

    Raises:
        RewardError: for a wrong shape, or for a score that is not finite, naming its prompt: averages and running
            statistics would carry it for ever.
    """
    finite = check_shape(name, scores, prompts).isfinite()
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise RewardError(f"reward {name!r} returned {scores[row].item()} for the prompt {prompts[row]!r}")
    return scores

"""Rewards: named scorers, weighted sums of them, and callables of the user's own.

Importing this package does not import torch; loading a reward does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedge.rewards.catalogue import REWARDS, find, register
from kedge.rewards.description import RewardInfo, describe, display_title
from kedge.rewards.expression import Term, parse, single
from kedge.rewards.sources import MissingWeightsError, Readiness, readiness
from kedge.rewards.spec import Part, RewardSpec

if TYPE_CHECKING:
    from kedge.rewards.base import Reward

__all__ = [
    "REWARDS",
    "MissingWeightsError",
    "Part",
    "Readiness",
    "RewardInfo",
    "RewardSpec",
    "Term",
    "describe",
    "display_title",
    "find",
    "load_reward",
    "parse",
    "readiness",
    "register",
    "single",
]


def load_reward(text: str, device: Any = "cpu", dtype: Any = None) -> Reward:
    """Load ``NAME[@SOURCE]``, ``module:callable``, or a weighted sum like ``0.7*hpsv2 + 0.3*pickscore``.

    Args:
        device: where its networks live; images may come from any device.
        dtype: a torch dtype for its networks, to save memory; float32 unless given. Scores are float32 in any case.

    Raises:
        ValueError: the text cannot be read, a name is unknown, or the weights are not those of this reward.
        MissingWeightsError: the weights are not on this machine; the message says how to fetch them.
    """
    import torch

    from kedge.rewards.composition import load

    return load(text, device, dtype or torch.float32)

"""A reward's natural scale: what ``z(NAME)`` subtracts and divides by, so that different rewards can be added."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from torch import Tensor

from kedge.rewards.catalogue import REWARDS
from kedge.rewards.expression import Term
from kedge.rewards.sources import world_assets


@dataclass(frozen=True)
class Scale:
    """A centre and a spread; the default changes nothing."""

    centre: float = 0.0
    spread: float = 1.0

    def __post_init__(self) -> None:
        if not (self.spread > 0 and math.isfinite(self.spread) and math.isfinite(self.centre)):
            raise ValueError(f"a scale needs a finite centre and a spread above 0, not {self.centre}, {self.spread}")

    def __call__(self, scores: Tensor) -> Tensor:
        return (scores - self.centre) / self.spread


def natural_scale(term: Term) -> Scale:
    """The scale of a registered reward.

    For the emoji world it is the mean and standard deviation over pictures of its base model (``scales.json`` among
    its assets); for published weights, the middle and a quarter of the typical range.

    Raises:
        ValueError: nothing is known about this reward's scale.
    """
    if term.source == "emoji":
        file = world_assets() / "scales.json"
        known = json.loads(file.read_text()) if file.is_file() else {}
        if term.name in known:
            return Scale(*known[term.name])
    elif term.source is None and term.name in REWARDS and (typical := REWARDS[term.name].typical):
        low, high = typical
        return Scale((low + high) / 2, (high - low) / 4)
    raise ValueError(f"{term.text} cannot be standardised: its scale is not known. Write a weight instead of z(…)")

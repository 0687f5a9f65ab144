"""Dual ascent on the logarithm of a multiplier: a constraint is held by learning the weight of its penalty.

max E r subject to g ≤ 0 is the saddle point of E r − λ g, and gradient ascent in ln λ,

    ln λ ← ln λ + η v + ζ (v − v'),      v ← μ v' + (1 − μ) clip(g, ±1),

finds λ while the model trains. g is the violation in units of the constraint: ln(D/κ) for a distance D that is to stay
at κ, (b − r)/σ for a reward r that is to stay above b. λ stays positive, and η means the same whatever λ's unit is. The
second term changes no fixed point (v is constant there); it brakes while D still runs towards κ, because a weight that
only integrates swings far beyond it. One step moves λ by at most a tenth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ROUNDING = 1e-6  # of the largest: numbers that differ by less are one number, which rewards give in float32


@dataclass(frozen=True)
class Multiplier:
    """Where the ascent stands: plain numbers, for a checkpoint (``dataclasses.asdict``, ``Multiplier(**state)``).

    Attributes:
        value: λ > 0.
        start: λ at first; bounds are relative to it.
        violation: v, the average violation, in −1…1; None before the first step.
    """

    value: float
    start: float
    violation: float | None = None


@dataclass(frozen=True)
class DualAscent:
    """The rule by which a multiplier is learnt.

    Attributes:
        rate: η.
        damping: ζ; 0 is plain dual ascent.
        memory: μ, the weight of the past in the average violation.
        largest: one step multiplies or divides λ by at most 1 + this.
        span: λ stays within ``start / span`` and ``start · span``.
    """

    rate: float = 0.05
    damping: float = 3.0
    memory: float = 0.5
    largest: float = 0.1
    span: float = 1e3

    def start(self, value: float) -> Multiplier:
        """Begin with λ = ``value``.

        Raises:
            ValueError: unless it is positive and finite: its logarithm is what moves.
        """
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"a multiplier must start above 0, not at {value}")
        return Multiplier(value, value)

    def step(self, multiplier: Multiplier, violation: float) -> Multiplier:
        """λ after one measurement; the same for one that is not a number.

        Args:
            violation: g in units of the constraint, > 0 where λ must rise; averaged over processes.
        """
        if math.isnan(violation):
            return multiplier
        clipped, before = max(-1.0, min(1.0, violation)), multiplier.violation
        average = clipped if before is None else self.memory * before + (1 - self.memory) * clipped
        change = self.rate * average + self.damping * (0.0 if before is None else average - before)
        limit = math.log1p(self.largest)
        change = max(-limit, min(limit, change))
        lowest, highest = multiplier.start / self.span, multiplier.start * self.span
        value = max(lowest, min(highest, multiplier.value * math.exp(change)))
        return Multiplier(value, multiplier.start, average)


def above(measured: float, ceiling: float) -> float:
    """The violation of ``measured ≤ ceiling``, both ≥ 0: ln(measured / ceiling), −∞ at 0."""
    if math.isnan(measured):
        return math.nan
    return math.log(measured / ceiling) if measured > 0 else -math.inf


def scale_of(rewards: Tensor) -> float:
    """In what a reward's numbers count: their standard deviation, ``[B]``; where that is rounding alone, or of one
    number, their size; where that is 0 too, 1."""
    largest, size = float(rewards.abs().max()), float(rewards.mean().abs())
    spread = float(rewards.std()) if len(rewards) > 1 else 0.0
    if not spread > ROUNDING * largest:  # none at all, or no number
        spread = 0.0
    return next((number for number in (spread, size) if 0 < number < math.inf), 1.0)

"""A contrast, measured: its effect, what chance would do, and the independent observations behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kedge.evaluation.statistics import Interval, mean_interval
from kedge.evaluation.statistics.standard_error import over
from kedge.evaluation.t_distribution import two_sided_p, two_sided_quantile


@dataclass(frozen=True)
class Measured:
    """A contrast, measured.

    Attributes:
        effect: above 0 where the claim is true, with its 95 % interval.
        p: two-sided, that it is 0.
        units: what independent observations it has, one value each (seeds, prompts), for the power of more of them;
            empty of a statistic that is no mean.
        unit: what they are.
        text: the number, for people.
        p_equal: that it is farther from 0 than the margin named beforehand; 1 without a margin.
    """

    effect: Interval
    p: float
    units: tuple[float, ...]
    unit: str
    text: str
    p_equal: float = 1.0

    @property
    def count(self) -> int:
        """How many units there are."""
        return len(self.units) or self.effect.units

    @property
    def sd(self) -> float:
        """Standard deviation of one unit; of a statistic that is no mean, as its interval implies."""
        if self.units:
            return float(np.std(self.units, ddof=1)) if len(self.units) > 1 else math.inf
        quantile = two_sided_quantile(self.effect.level, max(1, self.count - 1))
        return self.effect.half_width / quantile * math.sqrt(self.count)


def beyond(measured: Measured, margin: float) -> Measured:
    """By how much a mean is more than a margin; the text stays that of the mean, and names the margin."""
    whole, units = measured.effect, tuple(unit - margin for unit in measured.units)
    effect = replace(whole, value=whole.value - margin, low=whole.low - margin, high=whole.high - margin)
    text = f"{measured.text} (asked: {margin:g})"
    return replace(measured, effect=effect, p=p_of(effect), units=units, text=text)


def p_of(effect: Interval) -> float:
    """Two-sided p of an effect of 0, from an interval by Student's quantile; exact where it is 0.05."""
    edge = effect.low if effect.value > 0 else effect.high
    distance, half = abs(effect.value), abs(effect.value - edge)
    freedom = max(1, effect.units - 1)
    return two_sided_p(distance / half * two_sided_quantile(effect.level, freedom), freedom) if half > 0 else 1.0


def over_seeds(values: Sequence[float], more: str) -> Measured:
    """A mean over seeds; ``more`` is told beside it."""
    effect = mean_interval(list(values))
    text = f"{effect.value:+.3g} ± {effect.half_width:.2g}".replace("-", "−") + f", {more}"
    return Measured(effect, known(over(np.array(values)).p()), tuple(values), "seeds", text)


def known(p: float) -> float:
    """A p-value that is not known decides nothing."""
    return 1.0 if np.isnan(p) else p

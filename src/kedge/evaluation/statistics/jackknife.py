"""Statistics that are no means: how far they may be off, from leaving out one unit at a time."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from kedge.evaluation.statistics.interval import Interval
from kedge.evaluation.t_distribution import two_sided_quantile


def jackknifed(value: float, without: ArrayLike, *, level: float = 0.95) -> Interval:
    """A statistic with Student's interval by the jackknife (Tukey 1958).

    Args:
        value: of all N units.
        without: ``[N]``, of all units but one.
        level: the confidence.
    """
    left_out = np.asarray(without, dtype=np.float64)
    count = len(left_out)
    error = math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))
    half = two_sided_quantile(level, count - 1) * error
    return Interval(value, value - half, high=value + half, units=count, level=level)

"""The ratio of two means, with the interval that is exact for normal means."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from kedge.evaluation.statistics.interval import Interval, unit_means
from kedge.evaluation.t_distribution import two_sided_quantile


def ratio_interval(
    ours: ArrayLike, theirs: ArrayLike, groups: Sequence[object] | None = None, *, level: float = 0.95
) -> Interval | None:
    """The mean of ``ours`` over that of ``theirs``, paired; None where the latter may be zero.

    Fieller's interval (1954): all r for which the paired t test does not distinguish the mean of a − r b from 0,

        (ā − r b̄)² ≤ t²/n (s_aa − 2 r s_ab + r² s_bb).

    They are an interval exactly where b̄ differs from 0 at the same level.

    Args:
        ours, theirs: ``[N]`` of one training seed.
        groups: N labels: the prompt of each value.
        level: the confidence.
    """
    a, b = unit_means(ours, groups), unit_means(theirs, groups)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"a ratio takes paired values of one seed, not {a.shape} and {b.shape}")
    n = a.size
    if n < 2:
        return None
    q = two_sided_quantile(level, n - 1) ** 2 / n
    (saa, sab), (_, sbb) = np.cov(a, b)
    mean_a, mean_b = float(a.mean()), float(b.mean())
    quadratic = mean_b**2 - q * sbb
    if quadratic <= 0:
        return None
    half_linear = mean_a * mean_b - q * sab
    root = math.sqrt(max(0.0, half_linear**2 - quadratic * (mean_a**2 - q * saa)))
    return Interval(
        mean_a / mean_b, (half_linear - root) / quadratic, high=(half_linear + root) / quadratic, units=n, level=level
    )

"""Tests: signs, several claims at once, and being as good as equal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kedge.evaluation.statistics.interval import Floats, Interval
from kedge.evaluation.statistics.means import difference_estimate, paired_difference


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided p-value that wins and losses are equally likely; ties are left out beforehand."""
    n = wins + losses
    tail = sum(math.comb(n, i) for i in range(min(wins, losses) + 1))
    return float(min(1.0, 2 * tail / 2**n))


def holm(p_values: ArrayLike) -> Floats:
    """Holm's (1979) adjusted p-values: testing each against 0.05 keeps the family-wise error below 0.05."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


@dataclass(frozen=True)
class Equivalence:
    """Whether two models are the same but for less than a margin.

    Attributes:
        difference: ours − theirs; its level is 1 − 2α (90 % for α = 0.05), so that it lies inside ± margin exactly
            where the test says so.
        margin: the largest difference that does not matter, named before looking.
        p: of the two one-sided tests, the larger.
        alpha: the level of the test.
    """

    difference: Interval
    margin: float
    p: float
    alpha: float = 0.05

    @property
    def equivalent(self) -> bool:
        """Whether the difference is shown to be smaller than the margin."""
        return self.p < self.alpha


def equivalence(
    ours: ArrayLike,
    theirs: ArrayLike,
    margin: float,
    groups: Sequence[object] | None = None,
    *,
    alpha: float = 0.05,
) -> Equivalence:
    """Two one-sided tests (TOST; Schuirmann 1987) that |ours − theirs| is smaller than ``margin``.

    No significant difference is no equivalence: a small study never finds one.

    Args:
        ours, theirs: ``[N]``, or ``[S, N]`` with a row for each training seed; paired.
        margin: in the units of the scores, above 0.
        groups: N labels: the prompt of each value.

    Raises:
        ValueError: if the margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"the margin of equivalence must be positive, not {margin}")
    known = difference_estimate(ours, theirs, groups)
    sides = (known.p_above(-margin), 1 - known.p_above(margin))
    interval = paired_difference(ours, theirs, groups, level=1 - 2 * alpha)
    return Equivalence(interval, margin, float(np.max(sides)), alpha)

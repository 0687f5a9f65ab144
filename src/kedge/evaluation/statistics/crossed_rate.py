"""A rate that has to hold for other seeds, other prompts and other raters at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kedge.evaluation.statistics.interval import Floats, Interval, checked
from kedge.evaluation.statistics.rates import logit_interval, wilson
from kedge.evaluation.statistics.standard_error import Estimate, combined

Labels = NDArray[np.intp]


def crossed_rate(outcomes: ArrayLike, factors: Sequence[Sequence[object]], *, level: float = 0.95) -> Interval:
    """The mean of outcomes in [0, 1], with an interval over every factor; votes need not be balanced.

    Two votes are alike if they share a level of any factor, so the variance of the mean is the sum of e_i e_j over all
    such pairs, divided by N² (e: vote − mean; Cameron, Gelbach and Miller 2011, *Robust inference with multiway
    clustering*). The factor with the fewest levels counts all pairs that share it, each further one those that share
    none of the factors before; n / (n − 1) makes up for few levels. The interval is that of the log-odds, with a
    quantile between those of the factors' n − 1 degrees of freedom, see
    :meth:`kedge.evaluation.statistics.standard_error.Estimate.critical`.

    Args:
        outcomes: ``[V]`` 1 a win, ½ a tie, 0 a loss.
        factors: for each factor (seed, prompt, rater) the V labels of its levels. What is seen under one level only
            (other raters for each seed, say) needs labels of its own there. A factor with one level says nothing and
            is left out.
        level: the confidence.

    Returns:
        Its ``units`` are the levels of the smallest factor.

    Raises:
        ValueError: if labels are missing, or no factor has two levels.
    """
    x = checked(outcomes)
    if any(len(labels) != x.size for labels in factors):
        raise ValueError(f"{x.size} outcomes need as many labels in each factor, not {[len(f) for f in factors]}")
    indices = sorted((index for index in map(_index, factors) if index.max() > 0), key=np.max)
    if not indices:
        raise ValueError("an interval needs at least one factor with two levels")
    counts = [int(index.max()) + 1 for index in indices]
    known = _estimate(x, indices, counts)
    if known.error == 0:  # all alike: each level of the largest factor is seen once
        return Interval(known.value, *wilson(known.value * counts[-1], counts[-1], level=level), counts[0], level)
    interval = logit_interval(known.value, known.error, known.critical(1 - level))
    return Interval(known.value, *interval, counts[0], level)


def _index(labels: Sequence[object]) -> Labels:
    order: dict[object, int] = {}
    return np.array([order.setdefault(label, len(order)) for label in labels], dtype=np.intp)


def _estimate(x: Floats, indices: Sequence[Labels], counts: Sequence[int]) -> Estimate:
    apart = x - x.mean()
    variances = []
    for i, n in enumerate(counts):
        pairs = _pairs(apart, indices[i], indices[:i])
        variances.append((n / (n - 1) * max(0.0, pairs) / x.size**2, float(n - 1)))
    return combined(float(x.mean()), variances)


def _pairs(apart: Floats, index: Labels, before: Sequence[Labels]) -> float:
    """Σ e_i e_j over the pairs that share a level of one factor and none of the factors before, by their overlaps."""
    total = 0.0
    for size in range(len(before) + 1):
        for others in itertools.combinations(before, size):
            shared = index
            for other in others:
                shared = np.unique(shared * (other.max() + 1) + other, return_inverse=True)[1]
            total += (-1) ** size * float((np.bincount(shared, apart) ** 2).sum())
    return total

"""When a curve reaches a level, and how much sooner one method does than another.

Levels are named beforehand, in standard deviations of the base model's scores. At the largest level that both reach
every ratio tends to 1, because that is where the slower of them stops.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kedge.evaluation.statistics.interval import Floats, Interval
from kedge.evaluation.statistics.means import mean_interval


@dataclass(frozen=True)
class Reached:
    """Where a curve first reaches a level.

    Attributes:
        x: there (queries, seconds, steps), or the budget if it did not.
        censored: it did not: all that is known is that it takes more than ``x``.
    """

    x: float
    censored: bool = False


@dataclass(frozen=True)
class Speedup:
    """How many times more the other method takes to the same level, over training seeds.

    Attributes:
        log_ratio: the mean of ln(theirs / ours) over seeds with Student's interval; its ``units`` are the seeds.
        log_ratios: one for each seed.
        ours_censored, theirs_censored: how many seeds of either did not reach the level: the ratio of such a seed is a
            bound, from above where ours did not and from below where theirs did not.
        neither: for each seed, whether neither did. Its ratio stands for a tie, not for a number: a test that the ratio
            is 1 stays fair with it, an estimate leaves it out.
    """

    log_ratio: Interval
    log_ratios: tuple[float, ...]
    ours_censored: int
    theirs_censored: int
    neither: tuple[bool, ...]

    @property
    def ratio(self) -> Interval:
        """The geometric mean of theirs / ours with its interval."""
        log = self.log_ratio
        return Interval(
            math.exp(log.value), math.exp(log.low), high=math.exp(log.high), units=log.units, level=log.level
        )


def isotonic(y: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """The rising curve nearest to ``y`` by least squares, ``[N]``: pool adjacent violators (Barlow et al. 1972).

    Args:
        y: ``[N]``, in the order of x.
        weights: ``[N]`` positive; None for equal ones.

    Raises:
        ValueError: if the lengths differ.
    """
    values = np.asarray(y, dtype=np.float64)
    shares = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    if values.ndim != 1 or values.shape != shares.shape:
        raise ValueError(f"y and weights must be lists of one length, not {values.shape} and {shares.shape}")
    blocks: list[tuple[float, float, int]] = []  # mean, weight, points
    for value, share in zip(values.tolist(), shares.tolist(), strict=True):
        mean, weight, points = value, share, 1
        while blocks and blocks[-1][0] >= mean:
            before, more, merged = blocks.pop()
            mean = (before * more + mean * weight) / (more + weight)
            weight, points = weight + more, points + merged
        blocks.append((mean, weight, points))
    fitted: list[float] = []
    for mean, _, points in blocks:
        fitted += [mean] * points
    return np.array(fitted, dtype=np.float64)


def first_reaching(x: ArrayLike, y: ArrayLike, level: float, *, budget: float | None = None) -> Reached:
    """Where the isotonic curve through ``(x, y)`` first reaches ``level``; straight lines between its points.

    One lucky evaluation does not reach a level: the evaluations after it that fall short pull the curve down.

    Args:
        x: ``[N]`` rising, with the start, x = 0, first.
        y: ``[N]``: the rise above the start.
        level: in the units of ``y``.
        budget: what a curve that does not get there is censored at; the last x by default.

    Raises:
        ValueError: if x does not rise.
    """
    where, rise = np.asarray(x, dtype=np.float64), isotonic(y)
    if where.shape != rise.shape or where.size == 0 or (np.diff(where) <= 0).any():
        raise ValueError("x must rise from point to point, with one y for each")
    limit = float(where[-1]) if budget is None else budget
    above = np.flatnonzero(rise >= level)
    if not len(above):
        return Reached(limit, censored=True)
    i = int(above[0])
    crossing = float(where[0]) if i == 0 else float(np.interp(level, rise[i - 1 : i + 1], where[i - 1 : i + 1]))
    return Reached(limit, censored=True) if crossing > limit else Reached(crossing)


def speedup(ours: Sequence[Reached], theirs: Sequence[Reached], *, level: float = 0.95) -> Speedup:
    """ln(theirs / ours), seed by seed, with Student's interval over seeds.

    A seed of theirs that did not reach the level counts as if it had at the end of the budget, which favours theirs.

    Args:
        ours, theirs: one for each seed, in the same order; censored at the same budget.

    Raises:
        ValueError: if their numbers differ, or a level is reached at the very start, where no ratio exists.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"speedup compares seed by seed: {len(ours)} of ours, {len(theirs)} of theirs")
    if any(each.x <= 0 for each in (*ours, *theirs)):
        raise ValueError("the level is reached before the first step: choose a higher one")
    ratios = [math.log(b.x / a.x) for a, b in zip(ours, theirs, strict=True)]
    neither = tuple(a.censored and b.censored for a, b in zip(ours, theirs, strict=True))
    return Speedup(
        mean_interval(ratios, level=level),
        tuple(ratios),
        ours_censored=_censored(ours),
        theirs_censored=_censored(theirs),
        neither=neither,
    )


def _censored(series: Sequence[Reached]) -> int:
    return sum(each.censored for each in series)

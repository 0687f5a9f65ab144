"""Means and paired differences with their intervals, over prompts and training seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kedge.evaluation.statistics.interval import Floats, Interval, unit_means
from kedge.evaluation.statistics.standard_error import Estimate, estimate

Method = Literal["t", "bootstrap"]


def mean_interval(
    values: ArrayLike,
    groups: Sequence[object] | None = None,
    *,
    method: Method = "t",
    level: float = 0.95,
    seed: int = 0,
    draws: int = 10_000,
) -> Interval:
    """The mean over prompts, and over training seeds where there are some, with its interval.

    The bootstrap is the studentised one (Efron and Tibshirani 1993, section 12.5): for a mean it follows skewed
    scores, where the t interval is symmetric, and unlike the percentile bootstrap it is not too short at small sizes.

    Args:
        values: ``[N]`` of one model, or ``[S, N]`` of S models trained alike with other seeds: which standard error
            then counts, see :func:`kedge.evaluation.statistics.standard_error.estimate`.
        groups: N labels: the prompt of each value, when a prompt has several.
        method: ``t``, or ``bootstrap`` for one seed.
        level: the confidence.
        seed, draws: of the bootstrap.
    """
    x = unit_means(values, groups)
    if method == "bootstrap":
        return _bootstrap_t(x, level, seed, draws)
    if method != "t":
        raise ValueError(f"method must be 't' or 'bootstrap', not {method!r}")
    known = estimate(np.atleast_2d(x))
    half = known.half_width(level)
    return Interval(known.value, known.value - half, high=known.value + half, units=x.shape[-1], level=level)


def _bootstrap_t(x: Floats, level: float, seed: int, draws: int) -> Interval:
    if x.ndim != 1:
        raise ValueError("the bootstrap over prompts takes one seed's values: use method='t' for several seeds")
    mean = float(x.mean())
    if x.size == 1:
        return Interval(mean, -math.inf, high=math.inf, units=1, level=level)
    error = float(x.std(ddof=1)) / math.sqrt(x.size)
    if error == 0:
        return Interval(mean, mean, high=mean, units=x.size, level=level)

    def studentised(sample: Floats) -> Floats:
        spread = sample.std(axis=1, ddof=1)
        centred = sample.mean(axis=1) - mean
        # A resample of one repeated value has no spread: its t is infinite, which only widens the interval.
        with np.errstate(divide="ignore", invalid="ignore"):
            t = centred / (spread / math.sqrt(x.size))
        return np.where(np.isnan(t), 0.0, t)

    low, high = quantiles(bootstrap(x, studentised, seed=seed, draws=draws), level)
    return Interval(mean, mean - high * error, high=mean - low * error, units=x.size, level=level)


def bootstrap(x: Floats, statistic: Callable[[Floats], Floats], *, seed: int, draws: int) -> Floats:
    """``statistic`` of ``draws`` resamples of the units.

    Args:
        x: ``[U, ...]``, one row a unit.
        statistic: maps resamples ``[n, U, ...]`` to ``[n, ...]``.

    Returns:
        ``[draws, ...]``.
    """
    rng = np.random.default_rng(seed)
    chunk = max(1, 2_000_000 // x.size)  # bounds memory, whatever the number of units
    parts = []
    for start in range(0, draws, chunk):
        index = rng.integers(0, len(x), (min(chunk, draws - start), len(x)))
        parts.append(statistic(x[index]))
    return np.concatenate(parts)


def quantiles(samples: Floats, level: float) -> tuple[float, float]:
    """The two quantiles that hold ``level`` of the samples between them."""
    # "higher" and "lower" never interpolate between a finite and an infinite draw.
    low = np.quantile(samples, (1 - level) / 2, method="lower")
    high = np.quantile(samples, (1 + level) / 2, method="higher")
    return float(low), float(high)


def differences(ours: ArrayLike, theirs: ArrayLike) -> Floats:
    """``ours − theirs``, ``[N]`` or ``[S, N]``; a model that has one seed is compared with every seed of the other.

    Raises:
        ValueError: if they are not of the same samples, or of different numbers of seeds.
    """
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    seeds = set()
    for x in (a, b):
        if x.ndim == 2:
            seeds.add(x.shape[0])
    if a.shape[-1:] != b.shape[-1:] or len(seeds) > 1:
        raise ValueError(f"paired scores must have the same shape, not {a.shape} and {b.shape}")
    return a - b


def paired_difference(
    ours: ArrayLike, theirs: ArrayLike, groups: Sequence[object] | None = None, **options: Any
) -> Interval:
    """The mean of ``ours − theirs``; same prompts and same noise on both sides, and same seeds where both have some.

    Args:
        ours, theirs: ``[N]``, or ``[S, N]`` with a row for each training seed.
        options: of :func:`mean_interval`.
    """
    return mean_interval(differences(ours, theirs), groups, **options)


def difference_estimate(ours: ArrayLike, theirs: ArrayLike, groups: Sequence[object] | None = None) -> Estimate:
    """What is known of the mean of ``ours − theirs``: for tests that need more than an interval."""
    return estimate(np.atleast_2d(unit_means(differences(ours, theirs), groups)))


def paired_p(ours: ArrayLike, theirs: ArrayLike, groups: Sequence[object] | None = None) -> float:
    """Two-sided p-value of the paired t test over prompts (and seeds); NaN for a single prompt of a single seed."""
    return difference_estimate(ours, theirs, groups).p()

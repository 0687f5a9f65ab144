"""Means, paired differences and win rates with honest intervals. Plain numpy.

The unit of every interval is the **prompt**: several samples of one prompt are alike, so they are averaged (or counted
together) first, and only the prompts count as independent observations. ``groups`` says which observation belongs to
which prompt; without it every observation is its own unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kedge.evaluation.t_distribution import two_sided_p, two_sided_quantile

Floats = NDArray[np.float64]
Method = Literal["t", "bootstrap"]


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval.

    Attributes:
        value: the estimate.
        low, high: the ends; infinite where one unit alone says nothing about the spread.
        units: independent observations (prompts) behind it.
        level: the confidence.
    """

    value: float
    low: float
    high: float
    units: int
    level: float = 0.95

    @property
    def half_width(self) -> float:
        """Half of the interval's width: the number after ±."""
        return (self.high - self.low) / 2

    def excludes(self, x: float) -> bool:
        """Whether ``x`` lies outside the interval."""
        return x < self.low or x > self.high

    def scaled(self, factor: float) -> Interval:
        """The interval in other units (``factor`` > 0)."""
        return Interval(self.value * factor, self.low * factor, self.high * factor, self.units, self.level)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: infinite ends become null."""
        return {key: x if math.isfinite(x) else None for key, x in asdict(self).items()}


def unit_means(values: ArrayLike, groups: Sequence[object] | None = None) -> Floats:
    """Average the observations of each group, in the order in which the groups first appear.

    Args:
        values: ``[N]``.
        groups: N labels, or None for ``values`` unchanged.

    Returns:
        ``[U]`` float64.

    Raises:
        ValueError: if there is nothing, if a value is not finite, or if the lengths differ.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"expected a list of at least one number, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{(~np.isfinite(x)).sum()} of {x.size} values are not finite: find out why before averaging")
    if groups is None:
        return x
    if len(groups) != x.size:
        raise ValueError(f"{x.size} values but {len(groups)} group labels")
    order: dict[object, int] = {}
    index = np.array([order.setdefault(group, len(order)) for group in groups])
    return np.bincount(index, x) / np.bincount(index)


def mean_interval(
    values: ArrayLike,
    groups: Sequence[object] | None = None,
    *,
    method: Method = "t",
    level: float = 0.95,
    seed: int = 0,
    draws: int = 10_000,
) -> Interval:
    """The mean over units with a Student t or a bootstrap-t interval.

    The bootstrap is the studentised one (Efron and Tibshirani 1993, section 12.5): for a mean it follows skewed
    scores, where the t interval is symmetric, and unlike the percentile bootstrap it is not too short at small sizes.
    """
    x = unit_means(values, groups)
    mean = float(x.mean())
    if x.size == 1:
        return Interval(mean, -math.inf, math.inf, 1, level)
    error = float(x.std(ddof=1)) / math.sqrt(x.size)
    if method == "t" or error == 0:
        half = two_sided_quantile(level, x.size - 1) * error
        return Interval(mean, mean - half, mean + half, x.size, level)
    if method != "bootstrap":
        raise ValueError(f"method must be 't' or 'bootstrap', not {method!r}")

    def studentised(sample: Floats) -> Floats:
        spread = sample.std(axis=1, ddof=1)
        centred = sample.mean(axis=1) - mean
        # A resample of one repeated value has no spread: its t is infinite, which only widens the interval.
        with np.errstate(divide="ignore", invalid="ignore"):
            t = centred / (spread / math.sqrt(x.size))
        return np.where(np.isnan(t), 0.0, t)

    low, high = _quantiles(bootstrap(x, studentised, seed=seed, draws=draws), level)
    return Interval(mean, mean - high * error, mean - low * error, x.size, level)


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


def _quantiles(samples: Floats, level: float) -> tuple[float, float]:
    # "higher" and "lower" never interpolate between a finite and an infinite draw.
    low = np.quantile(samples, (1 - level) / 2, method="lower")
    high = np.quantile(samples, (1 + level) / 2, method="higher")
    return float(low), float(high)


def _differences(ours: ArrayLike, theirs: ArrayLike) -> Floats:
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired scores must have the same shape, not {a.shape} and {b.shape}")
    return a - b


def paired_difference(
    ours: ArrayLike, theirs: ArrayLike, groups: Sequence[object] | None = None, **options: Any
) -> Interval:
    """The mean of ``ours − theirs`` over prompts; same prompts and same noise on both sides. Options: mean_interval."""
    return mean_interval(_differences(ours, theirs), groups, **options)


def paired_p(ours: ArrayLike, theirs: ArrayLike, groups: Sequence[object] | None = None) -> float:
    """Two-sided p-value of the paired t test over prompts; NaN for a single prompt."""
    x = unit_means(_differences(ours, theirs), groups)
    if x.size == 1:
        return math.nan
    error = x.std(ddof=1) / math.sqrt(x.size)
    if error == 0:
        return 1.0 if x.mean() == 0 else 0.0
    return two_sided_p(float(x.mean() / error), x.size - 1)


def wilson(wins: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) for a proportion; ``wins`` and ``n`` need not be whole numbers."""
    if not 0 <= wins <= n or n <= 0:
        raise ValueError(f"need 0 ≤ wins ≤ n and n > 0, not wins={wins}, n={n}")
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    p = wins / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def win_rate(
    ours: ArrayLike,
    theirs: ArrayLike,
    groups: Sequence[object] | None = None,
    *,
    margin: float = 0.0,
    method: Literal["wilson", "bootstrap"] = "wilson",
    level: float = 0.95,
    seed: int = 0,
    draws: int = 10_000,
) -> Interval:
    """How often ours beats theirs on the same prompt and noise; a tie (within ``margin``) is half a win."""
    d = _differences(ours, theirs)
    outcomes = np.where(np.abs(d) <= margin, 0.5, (d > 0).astype(float))
    return rate_interval(outcomes, groups, method=method, level=level, seed=seed, draws=draws)


def rate_interval(
    outcomes: ArrayLike,
    groups: Sequence[object] | None = None,
    *,
    method: Literal["wilson", "bootstrap"] = "wilson",
    level: float = 0.95,
    seed: int = 0,
    draws: int = 10_000,
) -> Interval:
    """The mean of outcomes in [0, 1] (1 a win, ½ a tie, 0 a loss) over units.

    ``wilson`` never leaves [0, 1] and never shrinks to a point. With several outcomes per unit its sample size is the
    effective one, p(1−p) divided by the observed variance of the mean over units, kept between the number of units
    (outcomes of a unit all alike) and of outcomes (all independent). ``bootstrap`` is the percentile one over units.
    """
    x = np.asarray(outcomes, dtype=np.float64)
    units = unit_means(x, groups)
    rate = float(units.mean())
    if method == "bootstrap":
        low, high = _quantiles(bootstrap(units, lambda s: s.mean(axis=1), seed=seed, draws=draws), level)
    elif method == "wilson":
        variance = float(units.var(ddof=1)) / units.size if units.size > 1 else 0.0
        effective = rate * (1 - rate) / variance if variance > 0 else 0.0
        n = min(max(effective, units.size), x.size)
        low, high = wilson(rate * n, n, level=level)
    else:
        raise ValueError(f"method must be 'wilson' or 'bootstrap', not {method!r}")
    return Interval(rate, low, high, units.size, level)


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

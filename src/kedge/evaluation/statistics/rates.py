"""Win rates and other shares with score intervals, over prompts and training seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from kedge.evaluation.statistics.interval import Floats, Interval, unit_means
from kedge.evaluation.statistics.means import bootstrap, differences, quantiles
from kedge.evaluation.statistics.standard_error import estimate


def wilson(wins: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) for a proportion; ``wins`` and ``n`` need not be whole numbers."""
    if not 0 <= wins <= n or n <= 0:
        raise ValueError(f"need 0 ≤ wins ≤ n and n > 0, not wins={wins}, n={n}")
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    p = wins / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def logit_interval(rate: float, error: float, critical: float) -> tuple[float, float]:
    """The interval of a rate inside (0, 1), symmetric in its log-odds: logit(rate) ± t · error / (rate (1 − rate)).

    For errors that are estimates from few units, with Student's quantile, where Wilson's is too wide: its shift towards
    one half grows with the square of the quantile.

    Args:
        error: the standard error of the rate.
        critical: the quantile t.
    """
    odds, half = math.log(rate / (1 - rate)), critical * error / (rate * (1 - rate))
    return 1 / (1 + math.exp(min(half - odds, 700.0))), 1 / (1 + math.exp(-half - odds))


def outcomes_of(ours: ArrayLike, theirs: ArrayLike, margin: float = 0.0) -> Floats:
    """1 where ours scores higher, 0 where lower, ½ for a tie (within ``margin``): ``[N]`` or ``[S, N]``."""
    d = differences(ours, theirs)
    return np.where(np.abs(d) <= margin, 0.5, (d > 0).astype(float))


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
    """How often a picture of ours beats theirs on the same prompt and noise; a tie (within ``margin``) is half a win.

    Every picture is counted. To average the scores of several seeds first and count then is another, larger number:
    averages win more often than pictures do.
    """
    outcomes = outcomes_of(ours, theirs, margin)
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
    """The mean of outcomes in [0, 1] (1 a win, ½ a tie, 0 a loss) over prompts, and over seeds where there are some.

    ``wilson`` never leaves [0, 1] and never shrinks to a point. Its sample size is the effective one, n = p(1−p)/var,
    var the variance of the mean over prompts (score intervals for clustered samples: Korn and Graubard 1998; Franco,
    Little, Louis and Slud 2019), kept between the number of prompts (outcomes of a prompt all alike) and of outcomes
    (all independent). For several seeds the interval is that of the log-odds, see :func:`logit_interval`, with the
    error and the quantile of :func:`kedge.evaluation.statistics.standard_error.estimate`.
    ``bootstrap`` is the percentile one over the prompts of one seed.

    Args:
        outcomes: ``[N]``, or ``[S, N]`` with a row for each training seed.
        groups: N labels: the prompt of each outcome.
    """
    x = np.asarray(outcomes, dtype=np.float64)
    units = unit_means(x, groups)
    rate, prompts = float(units.mean()), units.shape[-1]
    if method == "bootstrap" and x.ndim == 1:
        low, high = quantiles(bootstrap(units, lambda s: s.mean(axis=1), seed=seed, draws=draws), level)
    elif method == "wilson":
        low, high = _one_seed(units, x.size, level) if x.ndim == 1 else _several_seeds(units, x.size, level)
    else:
        raise ValueError(f"method must be 'wilson', or 'bootstrap' for one seed's outcomes, not {method!r}")
    return Interval(rate, low, high=high, units=prompts, level=level)


def _one_seed(units: Floats, outcomes: int, level: float) -> tuple[float, float]:
    rate = float(units.mean())
    variance = float(units.var(ddof=1)) / units.size if units.size > 1 else 0.0
    effective = rate * (1 - rate) / variance if variance > 0 else 0.0
    if units.size > 1 and variance == 0 and 0 < rate < 1:  # outcomes differ within prompts alone
        effective = math.inf
    n = min(max(effective, units.size), outcomes)
    return wilson(rate * n, n, level=level)


def _several_seeds(table: Floats, outcomes: int, level: float) -> tuple[float, float]:
    if len(table) == 1:
        return _one_seed(table[0], outcomes, level)
    rate, prompts = float(table.mean()), table.shape[1]
    known = estimate(table)
    if known.error == 0:  # all alike, wins without exception for example: each prompt is seen once
        return wilson(rate * prompts, prompts, level=level)
    return logit_interval(rate, known.error, known.critical(1 - level))

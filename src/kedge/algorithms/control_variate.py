"""A control variate from a differentiable surrogate S of a reward R: R ≈ η S + b, fitted for each prompt.

The fit uses pictures of earlier batches only: η and b then do not depend on the noise of the batch that they are
applied to, and subtracting η S + b from R adds no bias to a score-function gradient. η* = Cov(R, S) / Var(S) within a
prompt minimises the variance of the residual: (1 − ρ²) Var(R).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

Pairs = Mapping[str, list[list[float]]]  # by prompt: [R, S] of its last pictures


@dataclass(frozen=True)
class Explained:
    """R ≈ slope · S + baseline.

    Attributes:
        slope: η; 0 if S explains too little.
        baseline: b.
        correlation: ρ² within prompts, over all of them.
    """

    slope: float
    baseline: float
    correlation: float


def remember(pairs: Pairs, news: Iterable[tuple[str, float, float]], size: int) -> dict[str, list[list[float]]]:
    """``pairs`` with (prompt, R, S) of new pictures, the last ``size`` of each prompt; ``pairs`` is not changed."""
    result = dict(pairs)
    for prompt, reward, surrogate in news:
        result[prompt] = [*result.get(prompt, ()), [reward, surrogate]][-size:]
    return result


def explain(pairs: Pairs, prompt: str, *, min_count: int, least: float) -> Explained:
    """η, b and ρ² for one prompt.

    A prompt with fewer than ``min_count`` pictures takes the slope that is pooled over all prompts, and a new prompt
    their baseline, too. Where ρ² is below ``least`` the slope is 0.
    """
    own = np.array(pairs.get(prompt, ()), dtype=np.float64).reshape(-1, 2)
    moments = _pooled(pairs)
    correlation = _correlation(moments)
    slope = 0.0
    if correlation >= least:
        enough = len(own) >= min_count and own[:, 1].var() > 0
        slope = _slope(_moments(own)) if enough else _slope(moments)
    seen = own if len(own) else _everything(pairs)
    baseline = float((seen[:, 0] - slope * seen[:, 1]).mean()) if len(seen) else 0.0
    return Explained(slope, baseline, correlation)


def _everything(pairs: Pairs) -> np.ndarray:
    rows = [np.array(each, dtype=np.float64) for each in pairs.values()]
    return np.concatenate(rows) if rows else np.zeros((0, 2))


def _moments(rows: np.ndarray) -> np.ndarray:
    """Sums of squares and products about the mean, ``[2, 2]``."""
    centred = rows - rows.mean(0)
    product: np.ndarray = centred.T @ centred
    return product


def _pooled(pairs: Pairs) -> np.ndarray:
    total = np.zeros((2, 2))
    for rows in pairs.values():
        if len(rows) > 1:
            total += _moments(np.array(rows, dtype=np.float64))
    return total


def _slope(moments: np.ndarray) -> float:
    return float(moments[0, 1] / moments[1, 1]) if moments[1, 1] > 0 else 0.0


def _correlation(moments: np.ndarray) -> float:
    scale = moments[0, 0] * moments[1, 1]
    return float(moments[0, 1] ** 2 / scale) if scale > 0 else 0.0

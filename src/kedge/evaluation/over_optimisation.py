"""Reward against distance from the base: the curve of over-optimisation, and where it peaks.

Gao et al. 2022 (arXiv 2210.10760) find, for models trained by reinforcement learning on a proxy of a true reward, with
d = √KL from the base,

    R(d) = d (α − β ln d),      whose peak is at ln d* = α/β − 1 where β > 0.

It is linear in α and β: least squares in closed form. What the peak's interval is made of are prompts, drawn again with
replacement, and the curve fitted again; draws that do not peak before the last look are counted, not dropped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kedge.evaluation.run_log import finite_or_null
from kedge.evaluation.statistics import Floats

DRAWS = 1000
LEVEL = 0.95
MOMENTS = 3  # fewer than this many distances above 0 have no curve


@dataclass(frozen=True)
class Peak:
    """One reward's curve.

    Attributes:
        alpha, beta: of R(d) = d (α − β ln d).
        distance: d* = √KL of the peak; ∞ if the curve has none.
        low, high: 95 % interval of d*; draws that peak beyond the farthest look, or never, count as there.
        peaked: share of draws whose peak lies within the distances that were seen.
        farthest: the largest distance that was seen; a peak beyond it is a guess.
    """

    alpha: float
    beta: float
    distance: float
    low: float
    high: float
    peaked: float
    farthest: float

    @property
    def seen(self) -> bool:
        """Whether the peak lies within what was seen."""
        return self.distance <= self.farthest

    def curve(self, distances: Floats) -> Floats:
        """R at ``distances`` > 0, ``[N]``."""
        values: Floats = distances * (self.alpha - self.beta * np.log(distances))
        return values

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return finite_or_null(asdict(self))


def fit_peak(distances: Floats, changes: Floats, *, seed: int = 0) -> Peak | None:
    """The curve of one reward.

    Args:
        distances: ``[T]`` √KL at each look, ≥ 0.
        changes: ``[T, P]``: how much the reward rose above the base's, prompt by prompt.

    Returns:
        None where fewer than :data:`MOMENTS` looks moved away from the base.
    """
    moved = distances > 0
    if moved.sum() < MOMENTS:
        return None
    d, table = distances[moved], changes[moved]
    solve = np.linalg.pinv(np.stack([d, -d * np.log(d)], axis=1))  # [2, T]
    alpha, beta = solve @ table.mean(1)
    rng = np.random.default_rng(seed)
    rows = rng.integers(table.shape[1], size=(DRAWS, table.shape[1]))
    drawn = solve @ np.stack([table[:, each].mean(1) for each in rows], axis=1)  # [2, draws]
    peaks = _peak(drawn[0], drawn[1])
    farthest = float(d.max())
    low, high = np.quantile(np.minimum(peaks, farthest), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Peak(
        float(alpha),
        float(beta),
        float(_peak(alpha, beta)),
        low=float(low),
        high=float(high),
        peaked=float((peaks <= farthest).mean()),
        farthest=farthest,
    )


def _peak(alpha: Any, beta: Any) -> Floats:
    """d* = exp(α/β − 1); ∞ where the curve rises for ever, or never rises to a peak."""
    alpha, beta = np.asarray(alpha, dtype=np.float64), np.asarray(beta, dtype=np.float64)
    exponent = np.divide(alpha, beta, out=np.full_like(alpha, np.inf), where=beta > 0) - 1
    result: Floats = np.exp(np.minimum(exponent, 700.0))
    return np.where(exponent > 50, np.inf, result)

"""Reward against distance from the base: the curve of over-optimisation, and where it peaks.

Gao et al. 2022 (arXiv 2210.10760) find, for models trained by reinforcement learning on a proxy of a true reward, with
d = √KL from the base,

    R(d) = d (α − β ln d),      whose peak is at ln d* = α/β − 1 where β > 0.

It is linear in α and β: least squares in closed form, for each prompt (or seed) by itself, so that the two are means
over prompts. The interval of their ratio, and with it of the peak, is Fieller's (1954), exact for normal means; where β
may be 0 it is open to the far side. (Percentiles of a bootstrap over prompts would hold the truth in 93 % of studies of
40 prompts, in 86 % of six seeds and in 72 % of three.)
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kedge.evaluation.run_log import finite_or_null
from kedge.evaluation.statistics import Floats
from kedge.evaluation.t_distribution import two_sided_quantile

DRAWS = 1000
LEVEL = 0.95
MOMENTS = 3  # fewer than this many distances above 0 have no curve


@dataclass(frozen=True)
class Peak:
    """One reward's curve.

    Attributes:
        alpha, beta: of R(d) = d (α − β ln d).
        distance: d* = √KL of the peak; ∞ if the curve has none.
        low, high: 95 % interval of d*, ends beyond the farthest look cut off there.
        peaked: share of bootstrap draws of the prompts whose peak lies within the distances that were seen.
        nearest, farthest: the smallest and largest distance from the base that were seen; a peak outside is a guess.
    """

    alpha: float
    beta: float
    distance: float
    low: float
    high: float
    peaked: float
    nearest: float
    farthest: float

    @property
    def seen(self) -> bool:
        """Whether the peak lies within what was seen."""
        return self.nearest <= self.distance <= self.farthest

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
        changes: ``[T, P]``: how much the reward rose above the base's, prompt by prompt (or seed by seed).

    Returns:
        None where fewer than :data:`MOMENTS` looks moved away from the base.
    """
    moved = distances > 0
    if moved.sum() < MOMENTS:
        return None
    d, table = distances[moved], changes[moved]
    coefficients = np.linalg.pinv(np.stack([d, -d * np.log(d)], axis=1)) @ table  # [2, P]: each prompt's α and β
    alpha, beta = coefficients.mean(1)
    rng = np.random.default_rng(seed)
    rows = rng.integers(table.shape[1], size=(DRAWS, table.shape[1]))
    peaks = _peak(*coefficients[:, rows].mean(2))  # [draws]
    nearest, farthest = float(d.min()), float(d.max())
    low, high = _interval(coefficients)
    return Peak(
        float(alpha),
        float(beta),
        float(_peak(alpha, beta)),
        low=min(low, farthest),
        high=min(high, farthest),
        peaked=float(((nearest <= peaks) & (peaks <= farthest)).mean()),
        nearest=nearest,
        farthest=farthest,
    )


def _interval(coefficients: Floats) -> tuple[float, float]:
    """Fieller's interval of d*, from each unit's α and β ``[2, P]``.

    It holds the directions of (α, β) whose normal n has a mean that is not told from 0 by the t test over units,
    (n·m)² ≤ t²/P n'Sn: a cone around the larger eigenvector of m m' − t²/P S. Along it d* = exp(cot θ − 1).
    """
    units = coefficients.shape[1]
    if units < 2:
        return 0.0, math.inf
    mean = coefficients.mean(1)
    allowed = np.cov(coefficients) * two_sided_quantile(LEVEL, units - 1) ** 2 / units
    (smaller, larger), vectors = np.linalg.eigh(np.outer(mean, mean) - allowed)
    if larger <= 0:  # neither α nor β is told from 0: any direction will do
        return 0.0, math.inf
    axis = vectors[:, 1] if vectors[:, 1] @ mean > 0 else -vectors[:, 1]
    if axis.max() < 0:  # it falls at first, and then rises for ever
        return 0.0, math.inf
    middle, half = math.atan2(axis[1], axis[0]), math.atan(math.sqrt(max(0.0, -smaller) / larger))
    return _at_angle(middle + half), _at_angle(middle - half)


def _at_angle(angle: float) -> float:
    """d* of a direction of (α, β): ∞ up to no turn (the curve rises for ever), 0 at and beyond a half one."""
    if angle <= 0:
        return math.inf
    return 0.0 if angle >= math.pi else math.exp(min(1 / math.tan(angle) - 1, 700.0))


def _peak(alpha: Any, beta: Any) -> Floats:
    """d* = exp(α/β − 1); ∞ where the curve rises for ever, or never rises to a peak."""
    alpha, beta = np.asarray(alpha, dtype=np.float64), np.asarray(beta, dtype=np.float64)
    exponent = np.divide(alpha, beta, out=np.full_like(alpha, np.inf), where=beta > 0) - 1
    result: Floats = np.exp(np.minimum(exponent, 700.0))
    return np.where(exponent > 50, np.inf, result)

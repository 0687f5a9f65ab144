"""An estimate with its confidence interval, and the unit that it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kedge.evaluation.run_log import finite_or_null

Floats = NDArray[np.float64]
ROUNDING = 1e-6  # of the largest: values that differ by less are one value, which rewards give in float32


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
        return Interval(
            self.value * factor, self.low * factor, high=self.high * factor, units=self.units, level=self.level
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: infinite ends become null."""
        return finite_or_null(asdict(self))


def checked(values: ArrayLike) -> Floats:
    """``values`` as float64.

    Raises:
        ValueError: if there is nothing, or a value is not finite.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim not in (1, 2) or x.size == 0:
        raise ValueError(f"expected a list of at least one number, or one such list a seed, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{(~np.isfinite(x)).sum()} of {x.size} values are not finite: find out why before averaging")
    return x


def unit_means(values: ArrayLike, groups: Sequence[object] | None = None) -> Floats:
    """Average the observations of each group, in the order in which the groups first appear.

    Args:
        values: ``[N]``, or ``[S, N]`` with a row for each of S seeds.
        groups: N labels, or None for ``values`` unchanged.

    Returns:
        ``[U]`` or ``[S, U]`` float64.

    Raises:
        ValueError: if there is nothing, if a value is not finite, or if the lengths differ.
    """
    x = checked(values)
    if groups is None:
        return x
    if len(groups) != x.shape[-1]:
        raise ValueError(f"{x.shape[-1]} values but {len(groups)} group labels")
    order: dict[object, int] = {}
    index = np.array([order.setdefault(group, len(order)) for group in groups])
    counts = np.bincount(index)
    if x.ndim == 1:
        return np.bincount(index, x) / counts
    return np.array([np.bincount(index, row) / counts for row in x])


def spread_of(values: ArrayLike) -> float:
    """Standard deviation of a sample; 0 of one value, and of values that differ by rounding alone."""
    x = np.asarray(values, dtype=np.float64)
    deviation = float(x.std(ddof=1)) if x.size > 1 else 0.0
    return deviation if deviation > ROUNDING * float(np.abs(x).max(initial=0.0)) else 0.0

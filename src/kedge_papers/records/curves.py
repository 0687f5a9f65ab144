"""Curves of several runs: running averages, and mean and spread over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kedge_papers.records.run_record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WINDOW = 20  # ROCM, Figure 5
GRID = 100


def running(y: np.ndarray, window: int = WINDOW) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the last ``window`` values at each point (of what there is, at the start)."""
    parts = [y[max(0, i - window + 1) : i + 1] for i in range(len(y))]
    return np.array([p.mean() for p in parts]), np.array([p.std() for p in parts])


def over_seeds(
    runs: Iterable[RunRecord], x: str, y: str, window: int = WINDOW
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where all seeds are known: x, the mean of their running averages, and its spread.

    The spread is the standard deviation over seeds, as in RLCM's figures; with one seed it is that within the window,
    as in ROCM's Figure 5. Empty if no run has a curve.
    """
    found = [(a, *running(b, window)) for a, b in (run.series(x, y) for run in runs) if len(a) > 1]
    if not found:
        return np.empty(0), np.empty(0), np.empty(0)
    grid = np.linspace(max(a[0] for a, _, _ in found), min(a[-1] for a, _, _ in found), GRID)
    means = np.array([np.interp(grid, a, mean) for a, mean, _ in found])
    within = np.array([np.interp(grid, a, spread) for a, _, spread in found])
    return grid, means.mean(0), means.std(0, ddof=1) if len(found) > 1 else within[0]


def draw_band(
    axes: Axes, runs: Sequence[RunRecord], x: str, y: str, *, colour: str, label: str, scale: float = 1.0
) -> None:
    """A line with its spread; nothing without a curve. ``scale`` divides x: seconds into minutes, say."""
    grid, mean, spread = over_seeds(runs, x, y)
    if len(grid):
        axes.plot(grid / scale, mean, color=colour, label=label, linewidth=1.6)
        axes.fill_between(grid / scale, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)


def first_reaching(runs: Sequence[RunRecord], x: str, y: str, level: float) -> float | None:
    """The x at which the mean of the running averages first reaches ``level``; None if it never does."""
    grid, mean, _ = over_seeds(runs, x, y)
    above = np.flatnonzero(mean >= level)
    return float(grid[above[0]]) if len(above) else None


def time_unit(runs: Sequence[RunRecord]) -> tuple[float, str]:
    """Seconds in the unit that suits the longest run, and its name."""
    longest = max((run.seconds for run in runs), default=0.0)
    return (3600.0, "hours") if longest > 7200 else (60.0, "minutes") if longest > 120 else (1.0, "seconds")


@dataclass(frozen=True)
class Sooner:
    """One method against another at the same rise of a curve above its start.

    Attributes:
        rise: the largest that both reach.
        times: how much of x the other took, divided by what the one took.
    """

    rise: float
    times: float


def sooner(ours: Sequence[RunRecord], theirs: Sequence[RunRecord], x: str, y: str) -> Sooner | None:
    """Means over seeds; between two points of a curve, straight lines. None if one of them never rises."""
    (a, mine), (b, other) = points_over_seeds(ours, x, y), points_over_seeds(theirs, x, y)
    if not (len(a) > 1 and len(b) > 1):
        return None
    mine, other = mine.mean(0), other.mean(0)
    rise = min(max(value - value[0]) for value in (mine, other))
    if rise <= 0:
        return None
    return Sooner(float(rise), _first(b, other, rise) / _first(a, mine, rise))


def points_over_seeds(runs: Sequence[RunRecord], x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """The mean x of each point that all seeds have, ``[points]``, and each seed's y there, ``[seeds, points]``."""
    found = [run.series(x, y) for run in runs]
    length = min((len(where) for where, _ in found), default=0)
    if not length:
        return np.empty(0), np.empty((len(found), 0))
    where, value = (np.array([series[i][:length] for series in found]) for i in (0, 1))
    return where.mean(0), value


def _first(where: np.ndarray, value: np.ndarray, rise: float) -> float:
    """Where ``value`` is first that much above its start."""
    i = int(np.argmax(value - value[0] >= rise))
    return float(np.interp(rise, value[i - 1 : i + 1] - value[0], where[i - 1 : i + 1]))

"""Curves of several runs: running averages, and mean and spread over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    curves = [(a, *running(b, window)) for a, b in (run.series(x, y) for run in runs) if len(a) > 1]
    if not curves:
        return np.empty(0), np.empty(0), np.empty(0)
    grid = np.linspace(max(a[0] for a, _, _ in curves), min(a[-1] for a, _, _ in curves), GRID)
    means = np.array([np.interp(grid, a, mean) for a, mean, _ in curves])
    within = np.array([np.interp(grid, a, spread) for a, _, spread in curves])
    return grid, means.mean(0), means.std(0, ddof=1) if len(curves) > 1 else within[0]


def draw_band(
    axes: Axes, runs: Sequence[RunRecord], x: str, y: str, *, colour: str, label: str, scale: float = 1.0,
    window: int = WINDOW,
) -> None:  # fmt: skip
    """A line with its spread; nothing without a curve. ``scale`` divides x: seconds into minutes, say."""
    grid, mean, spread = over_seeds(runs, x, y, window)
    if len(grid):
        axes.plot(grid / scale, mean, color=colour, label=label, linewidth=1.6)
        axes.fill_between(grid / scale, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)


def steps_in(queries: float, run: RunRecord) -> int:
    """How many optimizer steps ask for so many reward queries: the window of a running mean that is one for all."""
    return max(1, round(queries / run.queries)) if run.queries else 1


def time_unit(runs: Sequence[RunRecord]) -> tuple[float, str]:
    """Seconds in the unit that suits the longest run, and its name."""
    longest = max((run.seconds for run in runs), default=0.0)
    return (3600.0, "hours") if longest > 7200 else (60.0, "minutes") if longest > 120 else (1.0, "seconds")


def points_over_seeds(runs: Sequence[RunRecord], x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """The mean x of each point that all seeds have, ``[points]``, and each seed's y there, ``[seeds, points]``."""
    curves = [run.series(x, y) for run in runs]
    length = min((len(where) for where, _ in curves), default=0)
    if not length:
        return np.empty(0), np.empty((len(curves), 0))
    where, value = (np.array([curve[i][:length] for curve in curves]) for i in (0, 1))
    return where.mean(0), value

"""Curves of several runs: running averages, and mean and spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kedge_papers.records.run_record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WINDOW = 20  # ROCM, Figure 5
GRID = 100


def running(y: np.ndarray, window: int = WINDOW) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the last ``window`` values at each point (of what there is, at the start)."""
    means, spreads = np.empty(len(y)), np.empty(len(y))
    for i in range(len(y)):
        last = y[max(0, i - window + 1) : i + 1]
        means[i], spreads[i] = last.mean(), last.std()
    return means, spreads


def over_seeds(
    runs: Iterable[RunRecord], x: str, y: str, window: int = WINDOW
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where all seeds are known: x, the mean of their running averages, and its spread.

    The spread is the standard deviation over seeds, as in RLCM's figures; with one seed it is that within the window,
    as in ROCM's Figure 5. Empty if no run has a curve.
    """
    curves = []
    for run in runs:
        where, values = run.series(x, y)
        if len(where) > 1:
            curves.append((where, *running(values, window)))
    if not curves:
        return np.empty(0), np.empty(0), np.empty(0)
    first, last = -math.inf, math.inf
    for where, _, _ in curves:
        first, last = max(first, where[0]), min(last, where[-1])
    grid = np.linspace(first, last, GRID)
    if len(curves) == 1:
        where, mean, within = curves[0]
        return grid, np.interp(grid, where, mean), np.interp(grid, where, within)
    means = np.array([np.interp(grid, where, mean) for where, mean, _ in curves])
    return grid, means.mean(0), means.std(0, ddof=1)


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
    """At the steps where all seeds know both: the mean x, ``[points]``, and each seed's y, ``[seeds, points]``."""
    if not runs:
        return np.empty(0), np.empty((0, 0))
    along = [by_step(run, x) for run in runs]
    heights = [by_step(run, y) for run in runs]
    steps = shared_steps([*along, *heights])
    if not steps:
        return np.empty(0), np.empty((len(runs), 0))
    return _at(steps, along).mean(0), _at(steps, heights)


def _at(steps: Sequence[float], columns: Sequence[Mapping[float, float]]) -> np.ndarray:
    """``[columns, steps]``."""
    rows = np.empty((len(columns), len(steps)))
    for row, column in zip(rows, columns, strict=True):
        row[:] = [column[step] for step in steps]
    return rows


def by_step(run: RunRecord, column: str) -> dict[float, float]:
    """Step → value of a column, where it is known."""
    return dict(zip(*(each.tolist() for each in run.series("step", column)), strict=True))


def shared_steps(columns: Sequence[Mapping[float, float]]) -> list[float]:
    """The steps that all columns have, in order: seeds that were evaluated at others are not mixed up."""
    shared: set[float] = set(columns[0]) if columns else set()
    for column in columns[1:]:
        shared &= set(column)
    return sorted(shared)

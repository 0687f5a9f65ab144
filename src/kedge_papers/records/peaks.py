"""Peaks that chance does not make: where a curve is highest is chosen on other seeds than it is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kedge_papers.records.run_record import RunRecord


@dataclass(frozen=True)
class Peak:
    """What happens along runs after the truth is highest, a value for each seed.

    Attributes:
        steps: where the mean of the other seeds' truth is highest; of one seed alone, where its own is.
        rise: the truth there minus at the start.
        truth_after, reward_after: the truth and the trained reward at the end, minus there.
    """

    steps: tuple[float, ...]
    rise: tuple[float, ...]
    truth_after: tuple[float, ...]
    reward_after: tuple[float, ...]


def cross_fitted(runs: Sequence[RunRecord], reward: str, truth: str) -> Peak | None:
    """The peak of each seed, at the step that the other seeds chose; None without curves.

    Args:
        runs: repetitions of one run, evaluated at the same steps.
        reward, truth: columns of their curves.
    """
    steps, true = _table(runs, truth)
    _, trained = _table(runs, reward)
    if not true.size or trained.shape != true.shape:
        return None
    at = [others_peak(true, seed) for seed in range(len(true))]
    index = np.arange(len(true))
    return Peak(
        tuple(steps[at].tolist()),
        tuple((true[index, at] - true[:, 0]).tolist()),
        tuple((true[:, -1] - true[index, at]).tolist()),
        tuple((trained[:, -1] - trained[index, at]).tolist()),
    )


def others_peak(values: np.ndarray, seed: int) -> int:
    """The column in which the mean of the other rows of ``[S, P]`` is highest; with one row, in which it is."""
    others = np.delete(values, seed, axis=0) if len(values) > 1 else values
    return int(np.argmax(others.mean(0)))


def _table(runs: Sequence[RunRecord], column: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps ``[P]`` that all runs have, and values ``[S, P]``."""
    curves = []
    for run in runs:
        curve = run.series("step", column)
        if len(curve[0]):
            curves.append(curve)
    if not curves:
        return np.empty(0), np.empty((0, 0))
    length = min(len(steps) for steps, _ in curves)
    return curves[0][0][:length], np.array([values[:length] for _, values in curves])

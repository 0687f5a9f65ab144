"""Peaks that chance does not make: where a curve is highest is chosen on other seeds than it is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kedge_papers.records.curves import by_step, shared_steps
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
        runs: repetitions of one run; those that were cut short are left out.
        reward, truth: columns of their curves.
    """
    whole = to_the_end(runs, reward, truth)
    shared = shared_steps([by_step(run, column) for run in whole for column in (reward, truth)])
    if not shared:
        return None
    steps, true, trained = np.array(shared), _table(whole, shared, truth), _table(whole, shared, reward)
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


def to_the_end(runs: Sequence[RunRecord], *columns: str) -> list[RunRecord]:
    """The runs that know all columns at the last step of any of them: what was cut short has no end to speak of."""
    last = {}
    for run in runs:
        steps = shared_steps([by_step(run, column) for column in columns])
        if steps:
            last[run.name] = steps[-1]
    whole = []
    for run in runs:
        if run.name in last and last[run.name] == max(last.values()):
            whole.append(run)
    return whole


def _table(runs: Sequence[RunRecord], steps: Sequence[float], column: str) -> np.ndarray:
    """Values ``[S, P]`` at the given steps."""
    table = []
    for run in runs:
        values = by_step(run, column)
        table.append([values[step] for step in steps])
    return np.array(table)

"""Rows of tables from records: one for each model, repetitions with other seeds averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Interval
from kedge.evaluation.tables import Cell, Table, evaluation_table
from kedge.reproduce.records import Result, RunRecord, merged


def point(value: float, digits: int | None = None) -> Cell:
    """A number without an interval."""
    return Cell(Interval(value, float("-inf"), float("inf"), 1), digits=digits)


def grouped(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Title → its repetitions, in order."""
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        found.setdefault(run.title, []).append(run)
    return found


def measured(runs: Sequence[RunRecord], role: str) -> list[Evaluation]:
    """One evaluation for each title that has one, averaged over the seeds that have it."""
    rows = []
    for title, same in grouped(runs).items():
        found = [run.evaluations[role] for run in same if role in run.evaluations]
        if found:
            rows.append(merged(found, title))
    return rows


def scores_table(result: Result, runs: Sequence[RunRecord], role: str, metrics: Sequence[str], title: str) -> Table:
    """Models down, metrics across; a metric that nobody has is left out, and the note says why."""
    rows = measured(runs, role)
    here = [metric for metric in metrics if any(metric in row.scores for row in rows)]
    table = evaluation_table(rows, here, title=title)
    notes = [table.note, _seeds(runs, role, here), _missing(runs, role, metrics), _not_run(runs)]
    return replace(table, note=" ".join(filter(None, notes)))


def _seeds(runs: Sequence[RunRecord], role: str, metrics: Sequence[str]) -> str:
    """How far repetitions lie apart, where there are some."""
    several = [[run for run in same if role in run.evaluations] for same in grouped(runs).values()]
    counts = [len(same) for same in several if same and not same[0].name.startswith("base-")]
    if not counts:
        return ""
    if max(counts) == 1:
        return "One seed."
    spreads = []
    for same in several:
        for metric in metrics:
            means = [
                run.evaluations[role].scores[metric].mean() for run in same if metric in run.evaluations[role].scores
            ]
            if len(means) > 1:
                within = same[0].evaluations[role].interval(metric).half_width
                spreads.append(float(np.std(means, ddof=1)) / within if within else 0.0)
    worst = (
        f" The means of single seeds have a standard deviation of at most {max(spreads):.1f} such ±." if spreads else ""
    )
    return f"Mean of {max(counts)} seeds.{worst}"


def _missing(runs: Sequence[RunRecord], role: str, metrics: Sequence[str]) -> str:
    lacking = [m for m in metrics if any(m in run.notes.get(role, {}).get("missing", {}) for run in runs)]
    return f"Not measured, because weights were not there: {', '.join(lacking)}." if lacking else ""


def _not_run(runs: Sequence[RunRecord]) -> str:
    lost = [f"{run.title} (seed {run.seed}) diverged at step {run.step}" for run in runs if run.state == "diverged"]
    lost += [f"{run.title} (seed {run.seed}) stopped at step {run.step}" for run in runs if run.state == "stopped"]
    undone = [run for run in runs if not run.evaluations and run.state in ("waiting", "partial", "failed")]
    lost += [
        f"{run.title} (seed {run.seed}) was not run" + (f": {run.message}" if run.message else "") for run in undone
    ]
    return "; ".join(lost) + "." if lost else ""

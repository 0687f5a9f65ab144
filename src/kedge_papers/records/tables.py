"""Tables from records: models down, metrics and what they cost across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kedge.evaluation.statistics import Interval
from kedge.evaluation.tables import Cell, Table, decimals, display
from kedge_papers.records.result import Result
from kedge_papers.records.rows import Naming, Row, beats, rows, title_of, unit_note
from kedge_papers.records.run_record import RunRecord

COSTS = {"steps": "Steps", "queries": "Queries", "passes": "Passes"}
LEAST_STEPS = 10  # optimizer steps below which a run is not a training


def point(value: float, digits: int | None = None) -> Cell:
    """A number without an interval."""
    return Cell(Interval(value, float("-inf"), float("inf"), 1), digits=digits)


def grouped(runs: Sequence[RunRecord], name: Naming = title_of) -> dict[str, list[RunRecord]]:
    """Name → its repetitions, in order."""
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(name(run), []).append(run)
    return groups


def scores_table(result: Result, runs: Sequence[RunRecord], role: str, metrics: Sequence[str], title: str) -> Table:
    """A row for each model; a metric that nobody has is left out, and the note says why."""
    shown = rows(runs, role)
    columns = {}
    for metric in metrics:
        cells = _column(list(shown.values()), metric)
        if any(cells):
            columns[metric] = cells
    groups, lines = grouped(runs), []
    for name, *cells in zip(shown, *columns.values(), strict=True):
        lines.append((name, (*cells, *costs(groups[name]))))
    notes = [unit_note(list(shown.values())) if shown else ""]
    if len(shown) > 1:
        notes.append("Bold: better than every other row beyond chance.")
    notes += [_untrained(groups), _missing(runs, role, metrics), not_run(runs)]
    heads = tuple(display(metric).header for metric in columns)
    keys = (*columns, *COSTS)
    return Table("Model", (*heads, *COSTS.values()), keys, tuple(lines), title, " ".join(filter(None, notes)))


def costs(runs: Sequence[RunRecord]) -> tuple[Cell | None, ...]:
    """Optimizer steps, reward queries and network passes of a run, on average over its repetitions.

    Of those that came to their end, as everything else that a row shows; of all where none did.
    """
    trained = whole(runs)
    if not trained:
        return (None,) * len(COSTS)
    return tuple(point(value, digits=0) for value in mean_costs(trained))


def whole(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The trained runs that came to their end; all trained ones where none did."""
    trained = [run for run in runs if run.trained]
    return [run for run in trained if run.usable] or trained


def mean_costs(trained: Sequence[RunRecord]) -> tuple[float, float, float]:
    """Optimizer steps, reward queries and network passes of a run, on average over repetitions."""
    totals = np.zeros((len(trained), 3))
    for i, run in enumerate(trained):
        totals[i] = run.step, run.series("step", "queries")[1][-1], run.passes * run.step
    steps, queries, passes = totals.mean(0).tolist()
    return steps, queries, passes


def _column(shown: Sequence[Row], metric: str) -> list[Cell | None]:
    """The means of a metric; bold is the best if it beats every other row beyond chance."""
    scale = display(metric).scale
    means = {}
    for row in shown:
        if row.has(metric):
            means[row.title] = row.mean(metric)
    digits = decimals([mean.scaled(scale) for mean in means.values()])
    best = _clearly_best([row for row in shown if row.title in means], metric)
    cells: list[Cell | None] = []
    for row in shown:
        cells.append(Cell(means[row.title], scale, digits, bold=row is best) if row.title in means else None)
    return cells


def _clearly_best(having: Sequence[Row], metric: str) -> Row | None:
    """The row of the highest mean, if there are others and it beats each of them."""
    best = max(having, key=lambda row: row.mean(metric).value, default=None)
    if best is None or len(having) < 2:
        return None
    for row in having:
        if row is not best and not beats(best, row, metric):
            return None
    return best


def _untrained(groups: Mapping[str, Sequence[RunRecord]]) -> str:
    """Rows whose budget bought too few steps to learn anything."""
    few = []
    for title, runs in groups.items():
        steps = max(run.step for run in runs)
        if runs[0].trained and steps < LEAST_STEPS:
            few.append(f"{title} ({steps})")
    return f"Hardly trained, fewer than {LEAST_STEPS} optimizer steps: {', '.join(few)}." if few else ""


def _missing(runs: Sequence[RunRecord], role: str, metrics: Sequence[str]) -> str:
    missing: set[str] = set()
    for run in runs:
        missing |= set(run.notes.get(role, {}).get("missing", {}))
    lacking = []
    for metric in metrics:
        if metric in missing:
            lacking.append(metric)
    return f"Not measured, because weights were not there: {', '.join(lacking)}." if lacking else ""


def not_run(runs: Sequence[RunRecord]) -> str:
    """Which runs diverged, were stopped or are missing: the table is of the others."""
    lines = []
    for run in runs:
        name = f"{run.title} (seed {run.seed})"
        if run.state in ("diverged", "stopped"):
            lines.append(f"{name} {run.state} at step {run.step}")
        elif not run.evaluations and run.state in ("waiting", "partial", "failed"):
            lines.append(f"{name} was not run" + (f": {run.message}" if run.message else ""))
    return f"{'; '.join(lines)}." if lines else ""

"""Rows of tables from records: one for each model, repetitions with other seeds averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Interval, mean_interval
from kedge.evaluation.tables import Cell, Table, evaluation_table
from kedge_papers.records.result import Result, merged
from kedge_papers.records.run_record import RunRecord


def point(value: float, digits: int | None = None) -> Cell:
    """A number without an interval."""
    return Cell(Interval(value, float("-inf"), float("inf"), 1), digits=digits)


def grouped(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Title → its repetitions, in order."""
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        found.setdefault(run.title, []).append(run)
    return found


def widest(differences: Sequence[np.ndarray], prompts: Sequence[str]) -> Interval:
    """Of paired differences, an array over prompts for each seed: the mean, with its 95 % interval over prompts or, if
    they lie further apart, over seeds."""
    over_prompts = mean_interval(np.mean(differences, axis=0), prompts)
    if len(differences) < 2:
        return over_prompts
    over_seeds = mean_interval([float(each.mean()) for each in differences])
    return max(over_prompts, over_seeds, key=lambda interval: interval.half_width)


def difference(ours: Sequence[Evaluation], theirs: Sequence[Evaluation], metric: str) -> Interval:
    """Of two rows, seed by seed; a model that was measured once (a base model) is compared with every seed."""
    seeds = max(len(ours), len(theirs)) if 1 in (len(ours), len(theirs)) else min(len(ours), len(theirs))
    pairs = [(ours[i % len(ours)], theirs[i % len(theirs)]) for i in range(seeds)]
    return widest([mine.scores[metric] - other.scores[metric] for mine, other in pairs], ours[0].prompts)


def repeated(runs: Sequence[RunRecord], role: str) -> dict[str, list[Evaluation]]:
    """Title → what was measured with each seed."""
    groups = {
        title: [run.evaluations[role] for run in same if role in run.evaluations]
        for title, same in grouped(runs).items()
    }
    return {title: found for title, found in groups.items() if found}


def scores_table(result: Result, runs: Sequence[RunRecord], role: str, metrics: Sequence[str], title: str) -> Table:
    """Models down, metrics across; a metric that nobody has is left out, and the note says why."""
    seeds = repeated(runs, role)
    rows = [merged(found, name) for name, found in seeds.items()]
    here = [metric for metric in metrics if any(metric in row.scores for row in rows)]
    table = _sure(evaluation_table(rows, here, title=title), seeds)
    notes = [table.note, _seeds(runs, role, here), _missing(runs, role, metrics), _not_run(runs)]
    return replace(table, note=" ".join(filter(None, notes)))


def _sure(table: Table, seeds: Mapping[str, Sequence[Evaluation]]) -> Table:
    """Bold only where the seeds bear it out too."""

    def best(title: str, metric: str) -> bool:
        others = [each for name, each in seeds.items() if name != title and metric in each[0].scores]
        return all(difference(seeds[title], each, metric).low > 0 for each in others)

    rows = [
        (
            title,
            tuple(
                replace(cell, bold=best(title, metric)) if cell and cell.bold else cell
                for cell, metric in zip(cells, table.keys, strict=True)
            ),
        )
        for title, cells in table.rows
    ]
    return replace(table, rows=tuple(rows))


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

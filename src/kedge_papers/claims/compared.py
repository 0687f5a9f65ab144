"""What contrasts compare: rows of finished models, the models before, the metrics by the papers' names."""

from __future__ import annotations

from collections.abc import Sequence

from kedge_papers.records.result import Result
from kedge_papers.records.rows import Row
from kedge_papers.records.run_record import RunRecord
from kedge_papers.runner.experiment_set import SEE_DAMAGE
from kedge_papers.targets.methods import FINAL


def usable_runs(result: Result, family: str) -> list[RunRecord]:
    """The runs of a family that were trained to their end."""
    usable = []
    for run in result.runs:
        if run.family == family and run.usable:
            usable.append(run)
    return usable


def family_row(result: Result, family: str) -> Row | None:
    """A family's finished models; None if none was measured."""
    repetitions = {}
    for run in usable_runs(result, family):
        if FINAL in run.evaluations:
            repetitions[run.seed] = run.evaluations[FINAL]
    return Row(family, repetitions) if repetitions else None


def row_before(run: RunRecord) -> Row:
    """A model before training."""
    return Row(run.title, {run.seed: run.evaluations[FINAL]}, trained=False)


def named_before(result: Result, name: str) -> Row | None:
    """The model before training that is called so; None if it was not measured."""
    run = result.run(name)
    return row_before(run) if run is not None and not run.trained and FINAL in run.evaluations else None


def base_row(result: Result, runs: Sequence[RunRecord]) -> Row | None:
    """The model that runs started from; None if it was not measured."""
    for run in result.runs:
        if runs and not run.trained and run.base == runs[0].base and FINAL in run.evaluations:
            return row_before(run)
    return None


def shared_seeds(rows: Sequence[Row]) -> list[int]:
    """The seeds that all rows have."""
    shared = list(rows[0].repetitions) if rows else []
    for row in rows[1:]:
        shared = [seed for seed in shared if seed in row.repetitions]
    return shared


def metrics_named(result: Result, names: Sequence[str] | str, trained: str) -> list[str]:
    """Ours for the papers' names of rewards."""
    rewards = result.facts["rewards"]
    if names == "truth" or list(names) == ["truth"]:
        return [str(result.facts["truth"])]
    wanted = SEE_DAMAGE if names == "unseen" else names
    metrics = []
    for name in wanted:
        if rewards[name] != trained:
            metrics.append(rewards[name])
    return metrics

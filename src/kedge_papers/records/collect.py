"""From run folders to records."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from kedge.config import RunConfig
from kedge.config.loading import plain
from kedge.evaluation.records import evaluation_folder, load_record
from kedge.evaluation.run_log import read_log
from kedge.runs.folder import RunFolder
from kedge.training.assemble import base_of
from kedge.workflows.runner.cell import MEASURED, read_json, steps_done
from kedge.workflows.runner.cost import step_cost
from kedge.workflows.runner.matrix import Matrix
from kedge.workflows.runner.runs import Run
from kedge_papers.records.alarm_replay import with_todays_alarm
from kedge_papers.records.result import sheet
from kedge_papers.records.run_record import POINTS, RunRecord, curve, digest, identity

MACHINE = ("processor", "cores", "threads", "device", "accelerators", "kedge", "git", "packages")


def collect(matrix: Matrix, run: Run, points: int = POINTS) -> tuple[RunRecord, dict[str, bytes]]:
    """What a run's folder says, and its kept pictures by their digests.

    Args:
        points: of its curve that are kept, beside its looks.
    """
    home, config = matrix.home(run), run.config()
    cost = step_cost(config)
    log = with_todays_alarm(read_log(RunFolder(home).metrics), RunFolder(home), config)
    notes = {}
    for role, note in (read_json(home / MEASURED) or {}).items():
        if role in run.measures:
            notes[role] = note
    evaluations, sheets, pictures = {}, {}, {}
    for role in notes:
        evaluation = load_record(evaluation_folder(home), role)
        if evaluation is None:
            continue
        evaluations[role] = replace(evaluation, images=None)
        if evaluation.images is not None and evaluation.images.shape[1] == evaluation.images.shape[2]:
            content = sheet(evaluation.images)
            pictures[role] = digest(content)
            sheets[pictures[role]] = content
    record = RunRecord(
        name=run.name,
        title=run.title,
        seed=run.seed,
        arguments=tuple(run.arguments()),
        recipe=run.recipe,
        state=matrix.state(run),
        message=matrix.reason(run),
        step=steps_done(home),
        seconds=math.fsum(line.get("seconds") or 0.0 for line in log),
        passes=cost.passes if run.train else 0.0,
        queries=cost.queries if run.train else 0.0,
        curve=curve(log, cost.queries, points),
        evaluations=evaluations,
        notes=notes,
        config=plain(config),
        machine=_machine(read_json(home / "env.json") or {}),
        base=_base(config),
        pictures=pictures,
    )
    return record, sheets


def identity_of(run: Run) -> str:
    """As :attr:`RunRecord.identity` of what would be recorded of it."""
    config = run.config()
    return identity(run.name, plain(config), _base(config))


def _base(config: RunConfig) -> dict[str, str]:
    """The model that a run starts from: what it is called, and the digest of its weights where its files are here."""
    known = base_of(config.model)
    return {"name": config.model.name, **({"digest": known.digest} if known else {})}


def this_machine() -> dict[str, Any]:
    """Where this is written."""
    from kedge.runs.folder import environment
    from kedge.training.processes import Processes

    machine = _machine(environment(1, str(Processes("auto").device)))
    machine.pop("git", None)  # it may have changed since the runs
    return machine


def _machine(environment: dict[str, Any]) -> dict[str, Any]:
    machine = {}
    for key in MACHINE:
        if key in environment:
            machine[key] = environment[key]
    return machine

"""From run folders to records."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kedge.config.loading import plain
from kedge.evaluation.records import evaluation_folder, load_record
from kedge.evaluation.result import Evaluation
from kedge.training.loggers import read_log
from kedge.training.run_folder import RunFolder
from kedge.workflows.runner.cell import MEASURED, read_json, steps_done
from kedge.workflows.runner.cost import step_cost
from kedge.workflows.runner.matrix import Matrix
from kedge.workflows.runner.runs import Run
from kedge_papers.records.records import RunRecord, curve

MACHINE = ("processor", "cores", "threads", "device", "accelerators", "kedge", "git", "packages")


def record(matrix: Matrix, run: Run, pictures: Path) -> RunRecord:
    """What a run's folder says; its kept pictures go into ``pictures``, one sheet for each role."""
    home, config = matrix.home(run), run.config()
    cost = step_cost(config)
    log = read_log(RunFolder(home).metrics)
    notes = {role: note for role, note in (read_json(home / MEASURED) or {}).items() if role in run.measures}
    found = {role: load_record(evaluation_folder(home), role) for role in notes}
    found_here = {role: each for role, each in found.items() if each is not None}
    for role, each in found_here.items():
        _save_sheet(pictures / f"{run.name}-{role}.png", each)
    return RunRecord(
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
        curve=curve(log, cost.queries),
        evaluations={role: replace(each, images=None) for role, each in found_here.items()},
        notes=notes,
        config=plain(config),
        machine=_machine(read_json(home / "env.json") or {}),
    )


def this_machine() -> dict[str, Any]:
    """Where this is written."""
    from kedge.training.processes import Processes
    from kedge.training.run_folder import environment

    found = _machine(environment(1, str(Processes("auto").device)))
    return {key: value for key, value in found.items() if key != "git"}  # it may have changed since the runs


def _machine(environment: dict[str, Any]) -> dict[str, Any]:
    return {key: environment[key] for key in MACHINE if key in environment}


def _save_sheet(path: Path, evaluation: Evaluation) -> None:
    """The pictures side by side."""
    if evaluation.images is not None and evaluation.images.shape[1] == evaluation.images.shape[2]:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(list(evaluation.images), axis=1)).save(path)

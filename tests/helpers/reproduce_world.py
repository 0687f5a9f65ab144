"""Targets of ``kedge reproduce`` whose matrices take seconds; they enter by ``module:Object`` as a user's own."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from helpers.training_world import redness
from kedge.evaluation.tables import Table
from kedge.workflows.runner.runs import Measure, Run
from kedge_papers.pages.exhibit import Exhibit
from kedge_papers.records.result import Result
from kedge_papers.records.tables import scores_table
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target

RECIPE = str(Path(__file__).with_name("paint.yaml"))
METRICS = ("helpers.training_world:redness", "helpers.training_world:lightness")
_calls = 0


def deadly(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """Redness; the call whose number is in KEDGE_TEST_DIE kills the process as a power cut would."""
    global _calls
    _calls += 1
    if os.environ.get("KEDGE_TEST_DIE") == str(_calls):
        os.kill(os.getpid(), signal.SIGKILL)
    return redness(images, prompts)


deadly.differentiable = True  # type: ignore[attr-defined]


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """One that diverges between two that do not; the base model."""
    measures = {"final": Measure("animals-45", METRICS, count=options.count or 4, keep=2)}
    values = {"training.steps": int(options.budget or 8), **(options.overrides or {})}
    return (
        Run("base", RECIPE, options.overrides or {}, "Before", train=False, measures=measures),
        Run("first", RECIPE, values, "First", measures=measures),
        Run("poisoned", RECIPE, {**values, "algorithm.poison": 3}, "Poisoned", measures=measures),
        Run("second", RECIPE, {**values, "optimizer.lr": 3e-3}, "Second", measures=measures),
    )


def table(result: Result) -> Table:
    """Three rows."""
    return scores_table(result, result.runs, "final", METRICS, "Micro")


def show(result: Result) -> Exhibit:
    """A table."""
    return Exhibit((table(result),))


MICRO = Target("Micro", "nothing", runs, show, pictures=True)

"""What ``kedge frontier`` does: a run's way from its base, when to stop, and how strongly to use its adapter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.workflows.targets import run_path

if TYPE_CHECKING:
    from kedge.evaluation.frontier import Frontier
    from kedge.evaluation.result import Evaluation
    from kedge.evaluation.tables import Table
    from kedge.workflows.load_run import TrainedRun

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)


@dataclass(frozen=True)
class RunFrontier:
    """What :func:`frontier` found; printed, it is the table and the advice.

    Attributes:
        frontier: every point, curve and share.
        report: the page that shows it.
        data: the same as JSON.
        worst: the pictures that the judges marked down most, beside the base's; None where none were drawn.
    """

    frontier: Frontier
    report: Path
    data: Path
    worst: Path | None = None

    def table(self) -> Table:
        """Steps and strengths down; distance, rewards and judges across."""
        from kedge.evaluation.frontier_report import frontier_table

        return frontier_table(self.frontier)

    def lines(self) -> list[str]:
        """The advice, and where everything is."""
        worst = [f"worst    {self.worst}"] if self.worst else []
        return [self.frontier.advice(), "", *worst, f"numbers  {self.data}", f"report   {self.report}"]

    def __str__(self) -> str:
        from kedge.evaluation.rendering import render

        return "\n".join([render(self.table(), "table").rstrip("\n"), *self.lines()])


def frontier(
    run: str | Path | TrainedRun,
    *,
    strengths: Sequence[float] = STRENGTHS,
    batch_size: int = 16,
    device: str = "auto",
) -> RunFrontier:
    """Read the looks that a run took at itself, and draw its adapter at several strengths; writes into the run folder.

    Args:
        run: a run folder or a :class:`TrainedRun`, trained with ``watch.evaluate_every`` and ``watch.metrics``.
        strengths: of the adapter, from 0 (the base) on; none draws nothing.

    Raises:
        ValueError: if it is no run, or was not watched.
    """
    from kedge.evaluation.frontier import frontier as frontier_of
    from kedge.evaluation.frontier_report import NUMBERS
    from kedge.evaluation.report import write_report
    from kedge.files import write_text
    from kedge.runs.folder import RunFolder
    from kedge.workflows.load_run import TrainedRun, load_run
    from kedge.workflows.strengths import Drawn, draw_strengths

    path = run_path(run)
    if path is None:
        raise ValueError(f"{run} is not a run folder: it has no config.yaml (kedge train makes one)")
    folder = RunFolder(path)
    looks = read_looks(folder.watched)
    trained = run if isinstance(run, TrainedRun) else load_run(path, device)
    drawn = Drawn()
    if strengths:
        drawn = draw_strengths(
            trained.policy, looks[0], strengths=strengths, folder=folder.frontier, batch_size=batch_size
        )
    points = {**drawn.strengths, 0.0: looks[0]} if drawn.strengths else {}  # strength 0 is the base itself
    result = frontier_of(trained.config.reward, looks, points, drawn.kl_share, drawn=trained.step)
    data = write_text(folder.frontier / NUMBERS, json.dumps(result.to_dict(), ensure_ascii=False, indent=1))
    return RunFrontier(result, write_report(folder.path), data, drawn.worst)


def read_looks(folder: Path) -> dict[int, Evaluation]:
    """Every evaluation that a run kept while it trained, by step.

    Raises:
        ValueError: if there is none of the base, or none after it.
    """
    from kedge.evaluation.result import Evaluation

    looks = {}
    for path in sorted(folder.glob("step-*.json")):
        looks[int(path.stem.removeprefix("step-"))] = Evaluation.load(path)
    if list(looks) == [0]:
        raise ValueError(
            f"{folder.parent} kept an evaluation of its base alone: it ended before the first of its own. Train it on "
            "(kedge train RUN --resume), or again with watch.evaluate_every at most its steps"
        )
    if 0 not in looks:
        raise ValueError(
            f"{folder.parent} kept no evaluations while it trained: set watch.evaluate_every and watch.metrics, and "
            "train again (runs of earlier versions kept none)"
        )
    return looks

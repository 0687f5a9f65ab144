"""A target: a table or a figure of the papers, the runs that it needs, and what it shows of their records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedge.workflows.runner.matrix import Matrix
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import Exhibit
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import POINTS
from kedge_papers.runner.options import MatrixOptions


@dataclass(frozen=True)
class Target:
    """A table or a figure.

    Attributes:
        title: what it shows, in a line.
        mirrors: where it stands in the papers.
        runs: the matrix that it needs, of an experiment set, at a budget. Runs that targets share have equal names.
        show: tables and figure, from the records alone.
        protocol: how the hyper-parameters were chosen, where it is not the experiment set's protocol.
        more: what else has to be done once the runs are over (votes, for example); its answer is ``Result.extra``.
        pictures: whether it shows pictures of its runs, which are recorded then.
        points: of a run's curve that its records keep, beside its looks.
        further: the runs to go on with, from what a finished matrix has shown; those of the matrix if it is the end.
    """

    title: str
    mirrors: str
    runs: Callable[[MatrixOptions], tuple[Run, ...]]
    show: Callable[[Result], Exhibit]
    more: Callable[[MatrixOptions, Matrix, Path], Mapping[str, Any]] | None = None
    protocol: str = ""
    pictures: bool = False
    points: int = POINTS
    further: Callable[[MatrixOptions, Matrix], tuple[Run, ...]] | None = None

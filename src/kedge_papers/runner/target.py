"""A target: a table or a figure of the papers, the runs that it needs, and how it is drawn from their records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedge.workflows.runner.matrix import Matrix
from kedge.workflows.runner.runs import Run
from kedge_papers.records.records import Result
from kedge_papers.runner.options import Settings


@dataclass(frozen=True)
class Target:
    """A table or a figure.

    Attributes:
        title: what it shows, in a line.
        mirrors: where it stands in the papers.
        runs: the matrix that it needs, in a world, at a budget. Runs that targets share have equal names.
        show: writes tables and figures into a folder, from the records alone; returns the files.
        protocol: how the hyper-parameters were chosen, where it is not the world's protocol.
        more: what else has to be done once the runs are over (votes, for example); its answer is ``Result.extra``.
    """

    title: str
    mirrors: str
    runs: Callable[[Settings], tuple[Run, ...]]
    show: Callable[[Result, Path], list[Path]]
    more: Callable[[Settings, Matrix, Path], Mapping[str, Any]] | None = None
    protocol: str = ""

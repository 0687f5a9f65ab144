"""What a sweep has shown so far: one table and one figure, in every format, from the records in its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.workflows.sweep import Sweep

if TYPE_CHECKING:
    from kedge.evaluation.result import Evaluation
    from kedge.evaluation.tables import Table

SUFFIXES = {"table": "txt", "markdown": "md", "csv": "csv", "json": "json", "latex": "tex"}


def write_results(sweep: Sweep) -> tuple[Table, list[Path]]:
    """Collect, and write ``table.*`` and ``figure.*`` into the sweep's folder.

    Raises:
        ValueError: nothing is measured yet.
    """
    from kedge.evaluation.grouped import grouped_figure, grouped_table
    from kedge.evaluation.rendering import render
    from kedge.files import write_text

    groups, missing = _collect(sweep)
    if not groups:
        raise ValueError(f"nothing in {sweep.out} is measured yet")
    table = grouped_table(groups, ", ".join(axis.key.rpartition(".")[2] for axis in sweep.groups) or "model")
    if missing:
        table = replace(table, note=f"{table.note} Left out: {', '.join(missing)}.")
    files = []
    for format, suffix in SUFFIXES.items():
        files.append(write_text(sweep.out / f"table.{suffix}", render(table, format)))
    figure = grouped_figure(table)
    for suffix in ("png", "svg"):
        files.append(sweep.out / f"figure.{suffix}")
        figure.savefig(files[-1], dpi=150)
    return table, files


def _collect(sweep: Sweep) -> tuple[dict[str, Sequence[Evaluation]], list[str]]:
    """Row → evaluations of its seeds; and what is missing of the runs, with why."""
    from kedge.evaluation.records import evaluation_folder, load_record

    matrix, missing = sweep.matrix, []
    groups: dict[str, list[Evaluation]] = {}
    for run in matrix.runs:
        (role,) = run.measures
        record = load_record(evaluation_folder(matrix.home(run)), role)
        if record is None:
            missing.append(f"{run.name} ({matrix.state(run)})")
        else:
            groups.setdefault(sweep.label(run), []).append(replace(record, name=run.name))
    return dict(groups), missing

"""``kedge study report`` and ``export``: what the votes say, and the votes themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kedge.cli.study.serve import Folder


def report(
    study: Folder,
    out: Annotated[Path | None, typer.Option(help="A folder; STUDY/report by default.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Leave a rater's votes out (r3); may be repeated.")] = None,
) -> None:
    """Say who won: HTML, Markdown, JSON, chart and votes, with intervals, agreement and the raters' reliability."""
    from kedge.study import open_study
    from kedge.workflows.study import report_study

    print("\n".join(report_study(open_study(study), out, exclude or [])))


def export(
    study: Folder,
    to: Annotated[Path, typer.Option("--out", help="votes.csv, pickapic.csv, pickapic.parquet or d3po.jsonl.")],
) -> None:
    """Write the votes for other programs: as a table, with Pick-a-Pic's columns, or for algorithm.votes of D3PO.

    The file's name says which: *.jsonl is D3PO's, *pickapic* Pick-a-Pic's, any other .csv the plain table.
    """
    from kedge.study import open_study
    from kedge.workflows.study import export_votes

    export_votes(open_study(study), to)
    print(to)

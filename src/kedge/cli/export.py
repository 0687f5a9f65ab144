"""``kedge export``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Program(StrEnum):
    """Who is to load the adapter."""

    diffusers = "diffusers"
    comfyui = "comfyui"
    kohya = "kohya"
    a1111 = "a1111"
    merged = "merged"


def export_command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    program: Annotated[
        Program,
        typer.Option("--for", help="The program that is to load it, or merged: the whole model, the adapter inside."),
    ] = Program.diffusers,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder to write to; RUN/lora by default; needed for several, and for merged."),
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="RUN[=WEIGHT]", help="Add another run's adapter; may be repeated."),
    ] = None,
) -> None:
    """Write a run's adapter for other programs: of the step that its judges found best, else of its newest checkpoint.

    It is checked by reading it back.
    """
    from kedge.workflows.export import export_run

    print(export_run(run, program, out, others or []))

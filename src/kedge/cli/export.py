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


def export_command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    program: Annotated[Program, typer.Option("--for", help="The program that is to load it.")] = Program.diffusers,
    out: Annotated[Path | None, typer.Option(help="The folder to write to; RUN/lora by default.")] = None,
) -> None:
    """Write a run's adapter for diffusers or ComfyUI. It is its newest checkpoint's, and checked by reading it back."""
    from kedge.workflows.load_run import load_run

    written = load_run(run, device="cpu").save_lora(out)
    if program not in written:
        raise ValueError(f"{program} has no agreed format for a LoRA of this model; {written['diffusers']} is written")
    print(written[program])

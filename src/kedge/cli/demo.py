"""``kedge demo``: train on the emoji world, and measure what it did."""

from __future__ import annotations

from typing import Annotated

import typer

from kedge.cli.compare import write_comparison
from kedge.cli.interrupt import interruptible


def demo_command(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="The run folder; runs/demo by default.")] = None,
    count: Annotated[int, typer.Option(min=2, help="Unseen prompts to compare on.")] = 66,
) -> None:
    """Train the bundled emoji model, and measure what it did.

    By ROCM, for a few minutes; base and tuned are then compared on unseen prompts.
    """
    from kedge.workflows.demos import demo

    with interruptible():
        run, comparison = demo(overrides or [], out, count)
    write_comparison(comparison)
    print(f"samples  {run.folder.samples}\nadapter  {run.folder.lora}")

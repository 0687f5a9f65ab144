"""``kedge demo``: train on the emoji world, and measure what it did."""

from __future__ import annotations

from typing import Annotated

import typer


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
    from kedge.cli.compare import compare_command
    from kedge.cli.train import run_recipe
    from kedge.training.run_folder import RunFolder, fresh_folder

    folder = RunFolder(run_recipe("emoji-rocm", overrides or [], out or str(fresh_folder("demo")), resume=False))
    print(f"\nBase and tuned model on {count} prompts that neither has seen, twice each, from the same noise:\n")
    compare_command(str(folder.path), prompts="emoji-activities-held-out", count=count, samples=2)
    print(f"samples  {folder.samples}\nadapter  {folder.lora}")

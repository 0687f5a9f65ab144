"""``kedge train``."""

from __future__ import annotations

from typing import Annotated

import typer

from kedge.cli.interrupt import interruptible


def train_command(
    recipe: Annotated[str, typer.Argument(help="A preset (kedge presets), a YAML file, or a run folder.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes, such as optimizer.lr=1e-4.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="The run folder; runs/NAME by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    start_from: Annotated[
        str | None, typer.Option("--from", metavar="RUN", help="A new run that starts from this run's adapter.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and describe the run; load no weights.")] = False,
) -> None:
    """Train by a preset or a recipe, or go on with a run.

    For example: kedge train emoji-rocm, kedge train my.yaml training.steps=500, kedge train runs/my --resume.
    """
    from kedge.workflows.train import describe, train

    if dry_run:
        return print(describe(recipe, *(overrides or []), out=out, resume=resume, start_from=start_from))
    with interruptible():
        run = train(recipe, *(overrides or []), out=out, resume=resume, start_from=start_from)
    folder = run.folder
    for sentence in filter(None, (run.stopped, run.choice)):
        print(sentence)
    print(f"spent    {run.spent}")
    print(f"run      {folder.path}")
    places = {"samples": folder.samples, "adapter": folder.lora, "report": folder.report}
    for name, place in places.items():
        if place.exists():
            print(f"{name:8} {place}")

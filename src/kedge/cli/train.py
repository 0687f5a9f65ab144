"""``kedge train``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from kedge.config import RunConfig

INTERRUPTED = 130  # the shell's code for a program ended by Ctrl-C


def train_command(
    recipe: Annotated[str, typer.Argument(help="A preset, a YAML file, or a run folder.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes, such as optimizer.lr=1e-4.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="The run folder; runs/NAME by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and describe the run; load no weights.")] = False,
) -> None:
    """Train by a preset or a recipe, or go on with a run.

    For example: kedge train emoji-rocm, kedge train my.yaml training.steps=500, kedge train runs/my --resume.
    """
    from kedge.training.loggers import read_log
    from kedge.training.meter import spent
    from kedge.training.run_folder import RunFolder
    from kedge.workflows.recipes import choose

    if dry_run:
        return _describe(*choose(recipe, overrides or [], out, resume))
    run = RunFolder(run_recipe(recipe, overrides or [], out, resume))
    print(f"spent    {spent(read_log(run.metrics))}")
    print(f"run      {run.path}\nsamples  {run.samples}\nadapter  {run.lora}\nreport   {run.report}")


def run_recipe(recipe: str, overrides: list[str], out: str | None, resume: bool) -> Path:
    """Train and return the run folder; says how to go on if it was interrupted, and ends the program then."""
    from kedge.training.run import train
    from kedge.workflows.recipes import choose

    config, folder = choose(recipe, overrides, out, resume)
    outcome = train(config, folder, resume=resume)
    if outcome.ended == "interrupted":
        print(f"Stopped at step {outcome.step}, saved. Go on with: kedge train {folder} --resume")
        raise typer.Exit(INTERRUPTED)
    if outcome.ended == "stopped":
        print(f"Stopped at step {outcome.step}: {outcome.reason}")
    return folder


def _describe(config: RunConfig, folder: Path) -> None:
    """What would happen."""
    from kedge.config import dump
    from kedge.planning.plan import plan

    lines = [f"# {line}" for line in (f"into {folder}", *plan(config))]
    print("\n".join([dump(config), *lines]))

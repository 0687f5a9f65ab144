"""``kedge reproduce``."""

from __future__ import annotations

from typing import Annotated

import typer


def reproduce_command(
    target: Annotated[str | None, typer.Argument(help="What to make; none lists the targets.")] = None,
    out: Annotated[str, typer.Option(help="Where the runs and the result go.")] = "runs/reproduce",
    only_list: Annotated[
        bool, typer.Option("--list", help="Print each run as a command instead of running it.")
    ] = False,
) -> None:
    """Make a table or a figure of the papers. Every run it needs, resumable, then the result from their records."""
    from pathlib import Path

    from kedge.reproduce import TARGETS

    if target is None:
        print("\n".join(f"{name:<12} {TARGETS.get(name).title}" for name in TARGETS))
        return
    from kedge.reproduce.matrix import perform

    made, folder = TARGETS.get(target), Path(out) / target
    if only_list:
        print("\n".join(run.command(folder) for run in made.runs))
        return
    for i, run in enumerate(made.runs, start=1):
        print(f"run {i} of {len(made.runs)}: {run.name}")
        perform(run, folder)
    print("\n".join(str(path) for path in made.draw(folder, made.runs)))

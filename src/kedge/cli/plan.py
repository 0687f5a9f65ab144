"""``kedge plan``."""

from __future__ import annotations

from typing import Annotated

import typer


def plan_command(
    recipe: Annotated[str, typer.Argument(help="A preset (kedge presets), a YAML file, or a run folder.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes, such as training.batch_size=2.")
    ] = None,
) -> None:
    """Say what a run would take: parameters, samples, peak memory, time, downloads, disk. Loads no weights.

    For example: kedge plan rocm-paper model.size=512 training.device=cuda.
    """
    from kedge.workflows.plan import plan

    print(plan(recipe, *(overrides or [])))

"""``kedge plan``."""

from __future__ import annotations

from typing import Annotated

import typer


def plan_command(
    recipe: Annotated[str, typer.Argument(help="A preset, a YAML file, or a run folder.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes, such as training.batch_size=2.")
    ] = None,
) -> None:
    """Say what a run would take: parameters, samples, peak memory, time, downloads, disk. Loads no weights.

    For example: kedge plan rocm-paper model.size=512 training.device=cuda.
    """
    from kedge.config import load_config
    from kedge.planning.plan import plan
    from kedge.workflows.recipes import recipe_path

    for line in plan(load_config(recipe_path(recipe), overrides or [])):
        print(line)

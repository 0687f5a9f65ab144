"""``kedge init``: a recipe with every key explained."""

from __future__ import annotations

from typing import Annotated

import typer


def init_command(
    # By default the one in which nothing has to be chosen: docs/algorithms/distance.md has the measured reasons.
    preset: Annotated[str, typer.Argument(help="The recipe to start from (see kedge presets).")] = "emoji-auto",
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to it.")] = None,
) -> None:
    """Print a recipe with every key explained. Redirect it into a file and change what you like."""
    from kedge.config import document, load_config
    from kedge.config.presets import preset as find

    recipe = find(preset)
    config = load_config(recipe.path, overrides or [])
    title = f"{recipe.title} (from the preset {recipe.name})\nRun it with: kedge train THIS-FILE"
    print(document(config, title), end="")

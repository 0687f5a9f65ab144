"""``kedge prompts``: the named sets, and what is in them."""

from __future__ import annotations

from typing import Annotated

import typer

from kedge.cli.options import seed_option
from kedge.cli.wrapping import print_wrapped


def prompts_command(
    source: Annotated[
        str | None, typer.Argument(help="A named set, a file, a hub data set or module:function; none lists the sets.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="The column of a table.")] = None,
    split: Annotated[str, typer.Option(help="The split of a hub data set.")] = "train",
    count: Annotated[int | None, typer.Option(min=1, help="Draw this many.")] = None,
    seed: Annotated[int, seed_option("Seed of that draw.")] = 0,
    local: Annotated[str | None, typer.Option(help="A local copy of a named set.")] = None,
) -> None:
    """List the named prompt sets, or print the prompts of one. Problems with them go to standard error."""
    from kedge.prompts import NAMED, load_prompts

    if source is not None:
        print("\n".join(load_prompts(source, column=column, split=split, count=count, seed=seed, local=local)))
        return
    width = max(len(name) for name in NAMED)
    for name, named in NAMED.items():
        print_wrapped(named.about, f"{name:<{width}}  ")
        if named.hub:
            print_wrapped(f"from the hub ({named.hub}), or prompts.local=FILE: {named.local}", " " * (width + 2))

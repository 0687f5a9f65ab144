"""``kedge random-model``: the true layout of a supported model, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kedge.cli.options import seed_option
from kedge.policies.families.words import layout_names


def random_model_command(
    layout: Annotated[str, typer.Argument(help=f"{layout_names()}.")],
    folder: Annotated[Path, typer.Argument(help="Where to write it: a new folder.")],
    width: Annotated[float, typer.Option(help="Fraction of the true width, 0 to 1.")] = 1.0,
    depth: Annotated[float, typer.Option(help="Fraction of the true number of layers, 0 to 1.")] = 1.0,
    size: Annotated[int | None, typer.Option(help="Side of its pictures in pixels; its own by default.")] = None,
    dtype: Annotated[str, typer.Option(help="Precision of the files: float32, float16 or bfloat16.")] = "float32",
    variant: Annotated[str | None, typer.Option(help="Mark the weight files, as fp16 does on the hub.")] = None,
    seed: Annotated[int, seed_option("Of the weights.")] = 0,
) -> None:
    """Write a model with random weights. In a real model's layout: to try memory, speed and loading, not to draw."""
    from kedge.random_models import Scale, build_layout

    build_layout(layout, folder, Scale(width, depth, size), seed=seed, dtype=dtype, variant=variant)
    print(folder)

"""Options that several commands have, in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kedge.policies.families.words import family_names

LARGEST = 2**62 - 1  # as in a recipe (kedge.ranges.Seed)

Prompts = Annotated[
    str | None,
    typer.Option(help="A file, a named set or a hub data set. By default what the run is judged by (watch.test)."),
]
Count = Annotated[int | None, typer.Option(min=1, help="Use this many of the prompts.")]
Samples = Annotated[int, typer.Option(min=1, help="Pictures for each prompt.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures at once.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, …")]
Encoder = Annotated[str, typer.Option(help="Measures how much pictures vary: auto, emoji, dinov2, clip or none.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure again what a run folder already has.")]
Format = Annotated[
    str | None, typer.Option(help="table, markdown, json, csv or latex; by default from --out's ending.")
]
TableFile = Annotated[Path | None, typer.Option(help="Write the table here instead of printing it.")]
Guidance = Annotated[float | None, typer.Option(help="ω; diffusers' guidance_scale is ω + 1.")]
KindOfModels = Annotated[str | None, typer.Option(help=f"{family_names()}, for models; found out by default.")]
ModelKeys = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Other keys of a recipe's model block, for models: lcm_lora=FOLDER."),
]


def seed_option(help: str) -> Any:
    """A whole number that every generator of random numbers takes."""
    return typer.Option(min=0, max=LARGEST, help=help)

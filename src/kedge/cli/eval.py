"""``kedge eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kedge.cli.seeds import seed_option
from kedge.cli.tables import read_scales, table_format, write_table
from kedge.policies.families.words import family_names


def eval_command(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="MODEL|RUN|IMAGES...", help="Models, run folders, or folders of images with prompts."),
    ],
    metrics: Annotated[
        str | None, typer.Option(help="Rewards, comma-separated: pickscore@emoji,oracle. By default the run's.")
    ] = None,
    prompts: Annotated[
        str | None, typer.Option(help="A file, a named set or a hub data set. By default the run's held-out prompts.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Use this many of the prompts.")] = None,
    seed: Annotated[int, seed_option("Seed of the noise: every model draws from the same.")] = 0,
    samples: Annotated[int, typer.Option(min=1, help="Pictures for each prompt.")] = 1,
    base: Annotated[bool, typer.Option("--base/--no-base", help="Measure the base model of runs too.")] = True,
    statistics: Annotated[bool, typer.Option("--statistics", help="Add what the pictures look like.")] = False,
    scale: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FACTOR", help="Show a metric in other units: hpsv2=100.")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="table, markdown, json, csv or latex; by default from --out's ending.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the table here instead of printing it.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
    kind: Annotated[str | None, typer.Option(help=f"{family_names()}, for models; found out by default.")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps, for models.")] = None,
    guidance: Annotated[float | None, typer.Option(help="ω, for models; guidance_scale is ω + 1.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Other keys of a recipe's model block, for models: lcm_lora=FOLDER."),
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="Measures how much pictures vary: auto, emoji, dinov2, clip or none.")
    ] = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what a run folder already has.")] = False,
    group: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="One row for all runs alike in this key of their recipes: means over seeds."),
    ] = None,
) -> None:
    """Score models, runs or images by any rewards. All on the same prompts and noise, each with its 95 % interval."""
    from kedge.workflows.evaluate import evaluate

    chosen, scales = table_format(format, out), read_scales(scale or [])
    evaluations = evaluate(
        targets,
        metrics,
        prompts,
        count=count,
        seed=seed,
        samples=samples,
        base=base and group is None,
        batch_size=batch_size,
        device=device,
        encoder=encoder,
        fresh=fresh,
        kind=kind,
        steps=steps,
        guidance=guidance,
        model=model or (),
    )
    if group is not None:
        return write_table(evaluations.grouped(targets, group, scales), chosen, out)
    write_table(evaluations.table(statistics=statistics, scales=scales), chosen, out)

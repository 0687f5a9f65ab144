"""``kedge eval``."""

from __future__ import annotations

from typing import Annotated

import typer

from kedge.cli.options import (
    BatchSize,
    Count,
    Device,
    Encoder,
    Format,
    Fresh,
    KindOfModels,
    ModelKeys,
    Prompts,
    Samples,
    TableFile,
    seed_option,
)
from kedge.cli.tables import read_scales, table_format, write_table


def eval_command(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="MODEL|RUN|IMAGES...", help="Models, run folders, or folders of images with prompts."),
    ],
    metrics: Annotated[
        str | None, typer.Option(help="Rewards, comma-separated: pickscore@emoji,oracle. By default the run's.")
    ] = None,
    prompts: Prompts = None,
    count: Count = None,
    seed: Annotated[int, seed_option("Seed of the noise: every model draws from the same.")] = 0,
    samples: Samples = 1,
    base: Annotated[bool, typer.Option("--base/--no-base", help="Measure the base model of runs too.")] = True,
    statistics: Annotated[bool, typer.Option("--statistics", help="Add what the pictures look like.")] = False,
    scale: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FACTOR", help="Show a metric in other units: hpsv2=100.")
    ] = None,
    format: Format = None,
    out: TableFile = None,
    batch_size: BatchSize = 16,
    device: Device = "auto",
    kind: KindOfModels = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps, for models.")] = None,
    guidance: Annotated[float | None, typer.Option(help="ω, for models; guidance_scale is ω + 1.")] = None,
    model: ModelKeys = None,
    encoder: Encoder = "auto",
    fresh: Fresh = False,
    group: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="One row for all runs alike in this key of their recipes: means over seeds."),
    ] = None,
) -> None:
    """Score models, runs or images by any rewards. All on the same prompts and noise, each with its 95 % interval."""
    from kedge.workflows.evaluate import evaluate

    chosen, scales = table_format(format, out), read_scales(scale or [])
    if scales:
        from kedge.workflows.measurement import check_scales

        check_scales(scales, metrics, targets)
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

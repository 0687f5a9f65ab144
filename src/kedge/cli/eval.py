"""``kedge eval``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kedge.evaluation.tables import Table

SUFFIXES = {".md": "markdown", ".json": "json", ".csv": "csv", ".tex": "latex", ".txt": "table"}


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
    seed: Annotated[int, typer.Option(help="Seed of the noise: every model draws from the same.")] = 0,
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
    kind: Annotated[
        str | None, typer.Option(help="lcm, diffusion, turbo or sana-sprint, for models; found out by default.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps, for models.")] = None,
    guidance: Annotated[float | None, typer.Option(help="ω, for models; guidance_scale is ω + 1.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Other keys of a recipe's model block, for models: lcm_lora=FOLDER."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what a run folder already has.")] = False,
) -> None:
    """Score models, runs or images by any rewards. All on the same prompts and noise, each with its 95 % interval."""
    from kedge.evaluation.tables import evaluation_table
    from kedge.workflows.evaluate import Evaluating, Request

    chosen = table_format(format, out)
    scales = read_scales(scale or [])
    request = Request(
        metrics, prompts, count, seed, samples, batch_size, device, fresh, kind, steps, guidance, tuple(model or ())
    )
    work = Evaluating(request, targets)
    evaluations = work.all(base=base)
    shown = [*work.metrics, *(evaluations[0].statistics if statistics else ())]
    write_table(evaluation_table(evaluations, shown, scales), chosen, out)


def table_format(format: str | None, out: Path | None) -> str:
    """The format asked for, or that of the file's ending.

    Raises:
        ValueError: listing the formats.
    """
    from kedge.evaluation.rendering import FORMATS

    chosen = format or (SUFFIXES.get(out.suffix.lower(), "table") if out else "table")
    if chosen not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, not {chosen!r}")
    return chosen


def read_scales(texts: list[str]) -> dict[str, float]:
    """``["hpsv2=100"]`` → ``{"hpsv2": 100.0}``.

    Raises:
        ValueError: naming the text that is none.
    """
    scales = {}
    for text in texts:
        name, _, factor = text.rpartition("=")
        try:
            scales[name] = float(factor)
        except ValueError:
            scales[name] = 0.0
        if not name or scales[name] <= 0:
            raise ValueError(f"--scale takes NAME=FACTOR with a factor above 0, for example hpsv2=100, not {text!r}")
    return scales


def write_table(table: Table, format: str, out: Path | None) -> None:
    """Print a table, with bold on a terminal, or write it to a file."""
    from kedge.evaluation.rendering import render, rich_table

    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(render(table, format), encoding="utf-8")
        print(out)
    elif format == "table" and sys.stdout.isatty():
        from rich.console import Console

        Console(highlight=False).print(rich_table(table))
    else:
        print(render(table, format), end="")

"""``kedge probe``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kedge.cli.options import BatchSize, Count, Device, Encoder, Guidance, Samples, seed_option
from kedge.cli.tables import table_format, write_table
from kedge.policies.families.words import family_names


def probe_command(
    model: Annotated[str, typer.Argument(help="A bundled model, a folder in diffusers' format, or a hub id.")],
    metrics: Annotated[str | None, typer.Option(help="Rewards, comma-separated.")] = None,
    prompts: Annotated[str | None, typer.Option(help="A file, a named set or a hub data set.")] = None,
    steps: Annotated[str, typer.Option(help="Sampling steps, comma-separated; by default what is usual.")] = "",
    noise: Annotated[
        str, typer.Option(help="Values of model.renoise (model.eta where the kind has that), comma-separated.")
    ] = "0,0.5,1",
    guidance: Guidance = None,
    kind: Annotated[str | None, typer.Option(help=f"{family_names()}; found out by default.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="KEY=VALUE", help="Other keys of a recipe's model block: dtype=bfloat16."),
    ] = None,
    count: Count = None,
    seed: Annotated[int, seed_option("Seed of the noise, the same for all.")] = 0,
    samples: Samples = 2,
    out: Annotated[
        Path | None, typer.Option(help="The folder for pictures and numbers; probe-MODEL by default.")
    ] = None,
    format: Annotated[str, typer.Option(help="table, markdown, json, csv or latex.")] = "table",
    batch_size: BatchSize = 8,
    device: Device = "auto",
    encoder: Encoder = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Draw again what the folder already has.")] = False,
) -> None:
    """Say, before training, whether a model bears noise between its steps: rewards and pictures beside the ODE's."""
    from kedge.workflows.probe import probe

    chosen = table_format(format, None)
    outcome = probe(
        model,
        metrics,
        prompts,
        steps=[int(number) for number in read_numbers(steps, "--steps", whole=True)],
        noise=read_numbers(noise, "--noise"),
        guidance=guidance,
        kind=kind,
        overrides=overrides or (),
        count=count,
        seed=seed,
        samples=samples,
        batch_size=batch_size,
        device=device,
        encoder=encoder,
        fresh=fresh,
        out=out,
    )
    write_table(outcome.table(), chosen, None)
    print("\n".join(outcome.lines()), file=sys.stdout if chosen == "table" else sys.stderr)


def read_numbers(text: str, option: str, *, whole: bool = False) -> list[float]:
    """``0,0.5,1`` as numbers; none of an empty text.

    Raises:
        typer.BadParameter: for what is none, or none of the kind.
    """
    try:
        numbers = [float(part) for part in text.split(",")] if text.strip() else []
    except ValueError:
        numbers = [-1.0]
    if any(not 0 <= number < float("inf") or (whole and number != int(number)) for number in numbers):
        example = "4,8" if whole else "0,0.5,1"
        raise typer.BadParameter(f"{text!r}: write numbers, comma-separated, such as {example}", param_hint=option)
    return numbers

"""``kedge frontier``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kedge.cli.options import BatchSize, Device, Format, TableFile
from kedge.cli.tables import table_format, write_table
from kedge.units import finite


def frontier_command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, trained with watch.evaluate_every.")],
    strengths: Annotated[
        str, typer.Option(help="Strengths of the adapter to draw, comma-separated; none draws nothing.")
    ] = "0,0.25,0.5,0.75,1,1.25",
    format: Format = None,
    out: TableFile = None,
    batch_size: BatchSize = 16,
    device: Device = "auto",
) -> None:
    """Say when a run should have stopped, and how strongly to use its adapter: rewards and judges against √KL."""
    from kedge.workflows.frontier import frontier

    chosen = table_format(format, out)
    result = frontier(run, strengths=read_strengths(strengths), batch_size=batch_size, device=device)
    write_table(result.table(), chosen, out)
    print("\n".join(result.lines()), file=sys.stdout if chosen == "table" else sys.stderr)


def read_strengths(text: str) -> list[float]:
    """``0,0.5,1`` as numbers; ``none`` as none.

    Raises:
        typer.BadParameter: for what is no strength.
    """
    if text.strip() == "none":
        return []
    try:
        numbers = list(map(finite, text.split(",")))
    except ValueError:
        numbers = [-1.0]
    if any(number < 0 for number in numbers):
        raise typer.BadParameter(f"{text!r}: write numbers from 0 on, such as 0,0.5,1", param_hint="--strengths")
    return numbers

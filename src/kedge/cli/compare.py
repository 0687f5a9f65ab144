"""``kedge compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kedge.cli.options import BatchSize, Count, Device, Encoder, Format, Fresh, Prompts, Samples, TableFile, seed_option
from kedge.cli.tables import table_format, write_table

if TYPE_CHECKING:
    from kedge.workflows.compare import RunComparison


def compare_command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")],
    against: Annotated[str, typer.Option(help="base, or another run folder.")] = "base",
    metrics: Annotated[str | None, typer.Option(help="Rewards, comma-separated. By default the run's.")] = None,
    prompts: Prompts = None,
    count: Count = None,
    seed: Annotated[int, seed_option("Seed of the noise, the same for both.")] = 0,
    samples: Samples = 2,
    format: Format = None,
    out: TableFile = None,
    batch_size: BatchSize = 16,
    device: Device = "auto",
    encoder: Encoder = "auto",
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LEVEL", help="Exit with 1 at this verdict on base → tuned (hacking, …), with 0 else; repeatable."
        ),
    ] = None,
    transfer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SAMPLER",
            help="Measure what remains of the gain when sampled otherwise: auto (the usual ones), steps=4, renoise=0, "
            "size=768, beside=LORA=0.8; may be repeated.",
        ),
    ] = None,
    fresh: Fresh = False,
) -> None:
    """Compare a run with its base or with another run. Sample by sample: differences, win rates, grid and report."""
    from kedge.workflows.compare import compare

    chosen, levels = table_format(format, out), fail_if or []
    check_levels(levels, against)
    comparison = compare(
        run,
        against,
        metrics,
        prompts,
        count=count,
        seed=seed,
        samples=samples,
        batch_size=batch_size,
        device=device,
        encoder=encoder,
        fresh=fresh,
        transfer=transfer or (),
    )
    write_comparison(comparison, chosen, out)
    if levels:
        judge(comparison, levels)


def check_levels(levels: list[str], against: str) -> None:
    """Refuse a verdict that does not exist or that will not be given, before minutes are spent.

    Raises:
        typer.BadParameter: listing the verdicts.
    """
    from kedge.registry import suggest
    from kedge.workflows.compare import VERDICTS

    for level in levels:
        if level not in VERDICTS:
            problem = f"no comparison gives {level!r}: choose from {', '.join(VERDICTS)}.{suggest(level, VERDICTS)}"
            raise typer.BadParameter(problem, param_hint="--fail-if")
    if levels and against != "base":
        raise typer.BadParameter("a verdict is on base → tuned: leave out --against", param_hint="--fail-if")


def judge(comparison: RunComparison, levels: list[str]) -> None:
    """End with 1, and say why, if the verdict is one of those.

    Raises:
        ValueError: if there is none: a pipeline must not take silence for a good answer.
    """
    verdict = comparison.verdict
    if verdict is None:
        raise ValueError("--fail-if: no verdict without the reward that was trained on: put it among --metrics")
    if verdict.level in levels:
        print(f"kedge: --fail-if {verdict.level}: {verdict.sentence}", file=sys.stderr)
        raise typer.Exit(1)


def write_comparison(comparison: RunComparison, format: str = "table", out: Path | None = None) -> None:
    """The table, and what to say beside it: on standard error where the output is a table for a file."""
    write_table(comparison.table(), format, out)
    print("\n".join(comparison.lines()), file=sys.stdout if format == "table" else sys.stderr)

"""``kedge study new``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kedge.cli.options import BatchSize, Device, Prompts, seed_option


def new(
    target: Annotated[str, typer.Argument(metavar="RUN|MODEL|IMAGES", help="What is to be judged.")],
    against: Annotated[
        list[str] | None,
        typer.Option(help="base, itself, reseeded, or another run, model or folder of images; may be repeated."),
    ] = None,
    prompts: Prompts = None,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs to judge, over all matchups.")] = 300,
    raters: Annotated[int, typer.Option(min=0, help="Links to make now; more can follow.")] = 10,
    per_rater: Annotated[int | None, typer.Option(min=1, help="Pairs for each rater; all by default.")] = None,
    questions: Annotated[
        str | None, typer.Option(help="preference, appeal, alignment, or your own as key=text.")
    ] = None,
    checks: Annotated[float, typer.Option(min=0, max=1, help="Share of pairs shown again, swapped.")] = 0.0,
    preset: Annotated[str | None, typer.Option(help="paper: 300 prompts and three questions, as in ROCM.")] = None,
    seed: Annotated[int, seed_option("Of noise, order and sides.")] = 0,
    title: Annotated[
        str, typer.Option(help="Raters see it: it must not say what is compared.")
    ] = "Which picture is better?",
    out: Annotated[Path | None, typer.Option(help="The study's folder; studies/NAME-SEED by default.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps of every model; its own by default.")] = None,
    guidance: Annotated[float | None, typer.Option(help="ω of every model; its own by default.")] = None,
    batch_size: BatchSize = 8,
    device: Device = "auto",
) -> None:
    """Draw the pictures of a new study: both sides of a pair from the same seed, sides mixed and balanced."""
    from kedge.workflows.study import new_study, study_summary
    from kedge.workflows.study_sources import Drawing

    store = new_study(
        target,
        against or [],
        prompts=prompts,
        pairs=pairs,
        raters=raters,
        per_rater=per_rater,
        questions=questions,
        checks=checks,
        preset=preset,
        seed=seed,
        title=title,
        out=out,
        drawing=Drawing(steps, guidance, batch_size, device),
    )
    print(study_summary(store))

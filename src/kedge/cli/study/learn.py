"""``kedge study fit`` and ``import``: a reward from votes, or from people's own ratings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kedge.cli.options import Device, seed_option


def fit(
    studies: Annotated[
        list[Path],
        typer.Argument(metavar="STUDY|IMPORT...", help="Studies, or what kedge study import made of people's ratings."),
    ],
    out: Annotated[Path, typer.Option(help="The reward's folder: pickscore@FOLDER, of ratings aesthetic@FOLDER.")],
    backbone: Annotated[
        str | None, typer.Option(help="emoji, a CLIP folder or a hub id; by default that of the models' world.")
    ] = None,
    question: Annotated[str | None, typer.Option(help="Which votes; the first question's by default.")] = None,
    held_out: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of prompts kept to measure accuracy.")
    ] = 0.2,
    epochs: Annotated[int, typer.Option(min=0, help="At most; the best on validation votes is kept.")] = 12,
    lr: Annotated[float | None, typer.Option(help="By default 5e-6; 2e-5 for the emoji CLIP.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Votes at once.")] = 32,
    layers: Annotated[int | None, typer.Option(min=0, help="Train only so many last layers; all by default.")] = None,
    seed: Annotated[int, seed_option("Of the split and the order.")] = 0,
    device: Device = "auto",
) -> None:
    """Learn a reward from votes or ratings, and measure it on prompts that it has not seen."""
    from kedge.workflows.study_fit import fit_summary, fit_votes

    fitted = fit_votes(
        studies,
        out,
        backbone=backbone,
        question=question,
        held_out=held_out,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        layers=layers,
        seed=seed,
        device=device,
        progress=print,
    )
    print("\n".join(fit_summary(fitted, epochs)))


def import_ratings(
    file: Annotated[Path, typer.Argument(help="A .csv, .tsv, .jsonl, Label Studio's .json, or Pick-a-Pic's .parquet.")],
    out: Annotated[Path, typer.Option(help="A new folder, for kedge study fit.")],
    images: Annotated[Path | None, typer.Option(help="Where the pictures are; beside FILE by default.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT=NAME",
            help="Which column holds what: image=url, rating=stars, prompt, first, second, choice.",
        ),
    ] = None,
) -> None:
    """Bring in ratings of pictures (image, rating) or choices (two images and which is better) made elsewhere."""
    from kedge.workflows.study_import import import_judgements

    columns = {}
    for text in column or []:
        what, equals, name = text.partition("=")
        if not equals:
            raise ValueError(f"--column takes WHAT=NAME, for example rating=stars, not {text!r}")
        columns[what] = name
    print(import_judgements(file, out, images, columns))

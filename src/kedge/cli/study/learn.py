"""``kedge study fit``: a reward from the votes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fit(
    studies: Annotated[list[Path], typer.Argument(metavar="STUDY...", help="Studies whose votes are learnt from.")],
    out: Annotated[Path, typer.Option(help="The reward's folder: train with reward=pickscore@FOLDER.")],
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
    seed: Annotated[int, typer.Option(help="Of the split and the order.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
) -> None:
    """Learn a reward from the votes, and measure it on prompts that it has not seen."""
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

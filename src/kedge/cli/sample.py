"""``kedge sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kedge.cli.options import Device, Guidance, KindOfModels, ModelKeys, seed_option


def sample_command(
    target: Annotated[
        str, typer.Argument(metavar="MODEL|RUN", help="A run folder, a bundled model, a folder or a hub id.")
    ],
    prompt: Annotated[list[str], typer.Option(help="What to draw; may be repeated.")],
    seed: Annotated[int, seed_option("Seed of the first picture of each prompt.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="Pictures for each prompt, with seeds one after another.")] = 1,
    out: Annotated[Path, typer.Option(help="The picture; with several, a grid.")] = Path("sample.png"),
    base: Annotated[
        bool, typer.Option("--base", help="Draw with the base model of a run, without its adapter.")
    ] = False,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.")] = None,
    guidance: Guidance = None,
    kind: KindOfModels = None,
    model: ModelKeys = None,
    device: Device = "auto",
) -> None:
    """Draw pictures with a model or a run. The same seed draws the same picture in diffusers."""
    from kedge.workflows.sample import picture_path, sample

    picture_path(out)  # before anything is drawn
    samples = sample(
        target,
        prompt,
        seed=seed,
        count=count,
        base=base,
        steps=steps,
        guidance=guidance,
        kind=kind,
        model=model or (),
        device=device,
    )
    print(samples.save(out))

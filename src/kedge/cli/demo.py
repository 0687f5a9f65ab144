"""``kedge demo``: train on the emoji world, and measure what it did."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

METRICS = ("clipscore@emoji", "aesthetic@emoji", "oracle")
PROMPTS = 200


def demo_command(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/demo by default.")] = None,
) -> None:
    """Fine-tune the bundled emoji model by ROCM in a few minutes, then compare base and tuned on unseen prompts."""
    from kedge.cli.recipe import choose
    from kedge.training.run import train
    from kedge.training.run_folder import fresh_folder

    config, folder = choose("emoji-rocm", overrides or [], str(out or fresh_folder("demo")), resume=False)
    outcome = train(config, folder)
    if outcome.ended == "interrupted":
        print(f"Stopped at step {outcome.step}, saved. Go on with: kedge train {folder} --resume")
        raise typer.Exit(130)
    _measure(folder, config.reward)


def _measure(folder: Path, trained: str) -> None: ...

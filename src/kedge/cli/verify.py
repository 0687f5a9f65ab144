"""``kedge verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kedge.cli.options import Device
from kedge.policies.families.words import family_names


def verify_command(
    model: Annotated[str, typer.Argument(help="A bundled model, a folder in diffusers' format, or a hub id.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys of a recipe, such as model.steps=4.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help=f"{family_names()}; found out by default.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 5,
    out: Annotated[Path | None, typer.Option(help="The file to write; verify-MODEL.json by default.")] = None,
    device: Device = "auto",
) -> None:
    """Load a model (or download it), draw, train a few steps, and compare memory and time with the plan.

    It writes one file with versions, hardware, figures and a picture, to send to whoever asks how it went: no paths, no
    names of yours.
    """
    from kedge.files import check_writable
    from kedge.workflows.verify import verify

    target = out or Path(f"verify-{Path(model).name}.json")
    check_writable(target)  # before anything is loaded
    verification = verify(model, kind=kind, overrides=overrides or (), steps=steps, device=device)
    path = verification.save(target)
    print(verification)
    print(path)
    if not verification.whole:
        raise typer.Exit(1)

"""``kedge push``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def push_command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Where on the Hugging Face hub.")],
    public: Annotated[bool, typer.Option("--public", help="For everybody; private by default.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, send nothing.")] = False,
) -> None:
    """Send a run's adapter, model card, recipe and sample pictures to the hub. Log in first: hf auth login."""
    from kedge.workflows.push import files_to_push, push

    if dry_run:
        for name, path in files_to_push(run, repository).items():
            print(f"{name:<44} {path.stat().st_size / 1e6:8.2f} MB")
        return
    print(push(run, repository, private=not public))

"""The option ``--seed`` of every command that draws."""

from __future__ import annotations

from typing import Any

import typer

LARGEST = 2**62 - 1  # as in a recipe (kedge.ranges.Seed)


def seed_option(help: str) -> Any:
    """A whole number that every generator of random numbers takes."""
    return typer.Option(min=0, max=LARGEST, help=help)

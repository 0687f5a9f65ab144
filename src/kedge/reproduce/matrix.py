"""A matrix of runs: each a folder of its own; finished ones are never repeated, partial ones go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedge.config import load_config, preset
from kedge.training.run import train
from kedge.training.run_folder import RunFolder


@dataclass(frozen=True)
class Run:
    """One cell of a matrix.

    Attributes:
        name: its folder, and its label in tables and figures.
        preset: what it starts from.
        overrides: dotted keys and values on top.
    """

    name: str
    preset: str
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """The overrides as they are typed: ``key=value``."""
        return [
            f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in self.overrides.items()
        ]

    def command(self, folder: Path) -> str:
        """The same run by hand, for a cluster's scheduler."""
        return " ".join(["kedge train", self.preset, *self.arguments(), "--out", str(folder / self.name)])


@dataclass(frozen=True)
class Target:
    """A table or a figure.

    Attributes:
        runs: the matrix that it needs.
        draw: makes it from the finished runs' records alone; returns what it wrote.
    """

    title: str
    runs: tuple[Run, ...]
    draw: Callable[[Path, tuple[Run, ...]], list[Path]]


def steps_done(folder: Path) -> int:
    """The last step in a run's record, 0 if it has none."""
    return records(folder)[-1]["step"] if RunFolder(folder).metrics.is_file() else 0


def records(folder: Path) -> list[dict[str, Any]]:
    """A run's ``metrics.jsonl``."""
    lines = RunFolder(folder).metrics.read_text().splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def perform(run: Run, folder: Path) -> None:
    """Train a cell, from where it stands."""
    config = load_config(preset(run.preset).path, run.arguments())
    home = folder / run.name
    if RunFolder(home).card.is_file() and steps_done(home) >= config.training.steps:
        return  # the card is written last
    train(config, home, resume=RunFolder(home).used)

"""What a training is, in a few lines, said before anything is loaded."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedge.config import RunConfig

FAST = 0.01  # a learning rate above it has moved no adapter anywhere good


def banner(config: RunConfig, folder: Path) -> list[str]:
    """Folder, model, reward, prompts, what it is watched by, and how much of everything."""
    model, training, watch = config.model, config.training, config.watch
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    several = f" on each of {processes} processes" if processes > 1 else ""
    settings = config.algorithm.instance
    anchor = f", divergence {settings.divergence}" if hasattr(settings, "divergence") else ""
    lines = [
        f"into     {folder}",
        f"model    {model.name} ({model.kind}, {model.steps} steps), adapter of rank {model.lora.rank}",
        f"reward   {config.reward}, by {config.algorithm.name}{anchor}",
        f"prompts  {_source(config.prompts.source)}",
        f"watched  {_watched(config)}",
        f"length   {training.steps} steps of {training.batch_size * training.accumulation} samples{several}, "
        f"device {training.device}, seed {training.seed}",
    ]
    if config.optimizer.lr > FAST:
        lines.append(f"note     optimizer.lr={config.optimizer.lr:g} is very large: 1e-5 to 1e-3 is usual")
    if not watch.evaluate_every:
        lines.append("note     nothing is evaluated while it trains: watch.evaluate_every=N")
    return lines


def say(lines: list[str]) -> None:
    """On standard error, by the first process."""
    if os.environ.get("RANK", "0") == "0":
        print("\n".join(lines), file=sys.stderr, flush=True)


def _source(source: str | tuple[str, ...]) -> str:
    return source if isinstance(source, str) else f"{len(source)} of your own"


def _watched(config: RunConfig) -> str:
    watch = config.watch
    parts = []
    if watch.samples_every:
        parts.append(f"pictures every {watch.samples_every} steps")
    if watch.evaluate_every:
        metrics = ", ".join(dict.fromkeys([config.reward, *watch.metrics]))
        parts.append(f"{metrics} every {watch.evaluate_every}; guard {watch.guard}")
    return "; ".join(parts) or "not at all"

"""What the page shows of a run: its curves, its pictures, its alarm, read from the run folder each time anew."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kedge.config import load_config
from kedge.evaluation.run_log import read_log
from kedge.runs.folder import RunFolder, is_run

POINTS = 300  # of a curve: more than a screen can show
GRID = re.compile(r"step-\d+\.png")
QUIET = 120.0  # seconds without a new line after which a run that is not over counts as stalled
# What is drawn, in this order; everything measured on held-out or training prompts follows.
FIRST = ("reward", "divergence", "path_kl", "rms_x0", "loss", "gradient_norm", "lr")
MEASURED = ("held_out/", "train_prompts/")


def check_runs(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The folders, if each is one of a run.

    Raises:
        ValueError: naming the one that is not, and the runs beside it.
    """
    from kedge.registry import suggest

    folders = tuple(paths)
    for path in folders:
        if not is_run(path):
            beside = sorted(config.parent.name for config in path.parent.glob("*/config.yaml"))
            hint = f"{suggest(path.name, beside)} Runs beside it: {', '.join(beside)}" if beside else ""
            raise ValueError(f"{path} is not a run folder: it has no config.yaml (kedge train makes one).{hint}")
    return folders


def run_state(path: Path, name: str) -> dict[str, Any]:
    """Everything that changes while a run trains, as JSON has it."""
    folder, config = RunFolder(path), load_config(path / "config.yaml", to_train=False)
    log = read_log(folder.metrics)
    step = int(log[-1]["step"] or 0) if log else 0
    return {
        "name": name,
        "folder": str(path),
        "step": step,
        "steps": config.training.steps,
        "state": _state(folder, step, config.training.steps),
        "model": config.model.name,
        "reward": config.reward,
        "algorithm": config.algorithm.name,
        "series": _series(log),
        "alarm": _alarm(log),
        "grids": grids(folder),
        "prompts": _prompts(config.watch.samples),
        "report": folder.report.is_file(),
    }


def state_or_trouble(path: Path, name: str) -> dict[str, Any]:
    """:func:`run_state`; of a folder that was moved, removed or broken, what is wrong with it."""
    try:
        return run_state(path, name)
    except (ValueError, OSError) as error:
        nothing = dict.fromkeys(("model", "reward", "algorithm"), "")
        empty = {"series": {}, "alarm": _alarm(()), "grids": [], "prompts": [], "report": False, "step": 0, "steps": 0}
        return {"name": name, "folder": str(path), "state": "unreadable", "trouble": str(error), **nothing, **empty}


def grids(folder: RunFolder) -> list[str]:
    """The sample grids, oldest first."""
    return sorted(path.name for path in folder.samples.glob("step-*.png") if GRID.fullmatch(path.name))


def grid_path(run: Path, name: str) -> Path | None:
    """The file of a grid; None for any other name."""
    path = RunFolder(run).samples / name
    return path if GRID.fullmatch(name) and path.is_file() else None


def _prompts(samples: Sequence[str]) -> list[str]:
    return list(samples[:8])


def _state(folder: RunFolder, step: int, steps: int) -> str:
    if step >= steps:
        return "finished"
    written = folder.metrics.stat().st_mtime if folder.metrics.is_file() else 0.0
    if folder.ended.is_file():
        return "stopped"
    return "training" if time.time() - written < QUIET else "stalled"


def _series(log: Sequence[dict[str, Any]]) -> dict[str, list[list[float]]]:
    names: dict[str, None] = {name: None for name in FIRST}
    for line in log:
        for name in line:
            if name.startswith(MEASURED):
                names[name] = None
    series = {}
    for name in names:
        known = []
        for line in log:
            if _is_number(line.get(name)):
                known.append([line["step"], line[name]])
        points = _thinned(known)
        if len(points) > 1:
            series[name] = points
    return series


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _thinned(points: list[list[float]]) -> list[list[float]]:
    """At most :data:`POINTS`, evenly, with the last one."""
    every = max(1, math.ceil(len(points) / POINTS))
    return points[::every] if not points or (len(points) - 1) % every == 0 else [*points[::every], points[-1]]


def _alarm(log: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Whether the guard's alarm sounds, since when without a break (or when it did first), and what fell at the last
    look."""
    looks = []
    for line in log:
        if "alarm" in line:
            looks.append(line)
    sounded, unbroken = list[float](), list[float]()
    for line in looks:
        unbroken = [*unbroken, line["step"]] if line["alarm"] else []
        sounded += [line["step"]] if line["alarm"] else []
    fallen = []
    for name, value in (looks[-1] if looks else {}).items():
        if name.startswith("alarm/") and value:
            fallen.append(name.removeprefix("alarm/"))
    return {
        "looks": len(looks),
        "first": (unbroken or sounded)[0] if sounded else None,
        "now": bool(looks and looks[-1]["alarm"]),
        "fallen": fallen,
    }

"""What a matrix has shown, as one JSON file: all that tables and figures are drawn from.

Run folders may be deleted once it is written. Numbers are rounded to six digits, curves thinned to ``POINTS`` points.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kedge.evaluation.result import Evaluation
from kedge.files import write_text

FORMAT = "kedge-result-1"
POINTS = 1000
COLUMNS = ("step", "seconds", "queries", "reward", "divergence", "kl", "peak_memory_mb")  # and held_out/…


@dataclass(frozen=True)
class RunRecord:
    """What is left of one run.

    Attributes:
        state: ``finished``, ``stopped``, ``diverged``, ``failed``, ``partial`` or ``waiting``.
        message: why it diverged, stopped or failed.
        step, seconds: how far it was trained, and the time that took, evaluations left out.
        passes, queries: the cost of one optimizer step; see :mod:`kedge.workflows.runner.cost`.
        curve: columns of equal length: ``step``, ``seconds`` and ``queries`` so far, and some of the log's numbers.
        evaluations: role → scores of the finished model.
        notes: role → what was asked, missing metrics, seconds for a picture.
        config: everything that it was told.
        machine: where it ran.
    """

    name: str
    title: str
    seed: int
    arguments: tuple[str, ...]
    recipe: str
    state: str
    message: str = ""
    step: int = 0
    seconds: float = 0.0
    passes: float = 0.0
    queries: float = 0.0
    curve: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether it was trained to its end."""
        return self.state in ("finished", "stopped")

    @property
    def trained(self) -> bool:
        """Whether it took any step; a base model took none."""
        return bool(self.curve.get("step"))

    def series(self, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
        """Two columns of the curve, where both are known."""
        pairs = zip(self.curve.get(x, ()), self.curve.get(y, ()), strict=False)
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        found = np.array(known, dtype=float).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**fields, "evaluations": {role: _scores(each) for role, each in self.evaluations.items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunRecord:
        """The inverse of :meth:`to_dict`."""
        found = {role: Evaluation.from_dict(each) for role, each in data["evaluations"].items()}
        return cls(**{**data, "arguments": tuple(data["arguments"]), "evaluations": found})


@dataclass(frozen=True)
class Result:
    """A target's result.

    Attributes:
        target: its name.
        facts: world, budget, seeds, command, version: what the page says under the table.
        runs: in the target's order.
        extra: what a target adds (votes, for example), JSON-ready.
        folder: where it was read from; pictures lie beside it.
    """

    target: str
    facts: Mapping[str, Any]
    runs: tuple[RunRecord, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = Path()

    def run(self, name: str) -> RunRecord | None:
        """The run called ``name``."""
        return next((run for run in self.runs if run.name == name), None)

    def pictures(self, run: RunRecord, role: str) -> list[np.ndarray]:
        """The pictures kept of a run, ``[H, W, 3]`` uint8 each; empty if there are none."""
        from PIL import Image

        path = self.folder / "pictures" / f"{run.name}-{role}.png"
        if not path.is_file():
            return []
        sheet = np.asarray(Image.open(path).convert("RGB"))
        return list(np.split(sheet, sheet.shape[1] // sheet.shape[0], axis=1))

    def save(self, path: Path) -> None:
        """Write the JSON, whole or not at all."""
        runs = [run.to_dict() for run in self.runs]
        data = {"format": FORMAT, "target": self.target, "facts": self.facts, "runs": runs, "extra": self.extra}
        write_text(path, json.dumps(_short(data), ensure_ascii=False, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: naming the file, if it is something else.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise ValueError(f"its format is {data['format']!r}, not {FORMAT!r}")
            runs = tuple(RunRecord.from_dict(run) for run in data["runs"])
            return cls(data["target"], data["facts"], runs, data["extra"], path.parent)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a result that kedge reproduce wrote: {error}") from error


def curve(log: Iterable[Mapping[str, float | None]], queries: float) -> dict[str, list[float | None]]:
    """The log in columns with running totals, thinned to ``POINTS``; lines with held-out scores are all kept.

    Args:
        queries: of one step, where the log does not say.
    """
    found: list[dict[str, float | None]] = []
    seconds = 0.0
    for line in log:
        seconds += line.get("seconds") or 0.0
        asked = line.get("total_queries") or (line["step"] or 0) * queries
        found.append({**line, "seconds": seconds, "queries": asked})
    every = max(1, math.ceil(len(found) / POINTS))
    watched = {i for i, line in enumerate(found) if any(key.startswith("held_out/") for key in line)}
    kept = [line for i, line in enumerate(found) if i % every == 0 or i in watched or i == len(found) - 1]
    names = dict.fromkeys(key for line in kept for key in line if key in COLUMNS or key.startswith("held_out/"))
    return {name: [line.get(name) for line in kept] for name in names}


def merged(found: Sequence[Evaluation], name: str) -> Evaluation:
    """Repetitions with other seeds as one: each sample's score is its mean over them.

    Raises:
        ValueError: there are none, or they are of different prompts.
    """
    if not found or any(other.prompts != found[0].prompts for other in found):
        raise ValueError(f"{name}: repetitions of one run must be measured on the same prompts")
    shared = [metric for metric in found[0].scores if all(metric in other.scores for other in found)]
    scores = {metric: np.mean([each.scores[metric] for each in found], axis=0) for metric in shared}
    return Evaluation(name, found[0].prompts, found[0].seed, scores, facts={"seeds": len(found)})


def _scores(evaluation: Evaluation) -> dict[str, Any]:
    """Without the summary, which follows from the scores, and image statistics, which no target shows."""
    data = evaluation.to_dict()
    return {**data, "summary": {}, "statistics": {}}


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    return str(value) if isinstance(value, Path) else value

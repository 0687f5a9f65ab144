"""What is left of one run once its folder is deleted: how far it went, its curve, its scores, its configuration.

Numbers are rounded to six digits, scores of pictures to five, curves thinned to ``POINTS`` points.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kedge.evaluation.result import Evaluation
from kedge.workflows.runner.matrix import OVER

POINTS = 1000
DIGITS, SCORE_DIGITS = 6, 5
ALWAYS = ("format", "name", "seed", "facts", "summary", "prompts", "scores", "statistics")  # of an evaluation
COLUMNS = (  # and those that begin as FAMILIES do
    *("step", "seconds", "queries", "reward", "divergence", "kl", "path_kl", "rms_x0", "peak_memory_mb"),
    *("alarm", "judges", "best_step", "distance_nats"),
)
FAMILIES = ("held_out/", "alarm/")


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
        notes: role → what was measured, missing metrics, seconds for a picture.
        config: its whole configuration.
        machine: where it ran.
        base: the model that it started from: its ``name``, and the ``digest`` of its weights, where that is known.
        pictures: role → digest of the sheet of pictures that were kept of it, see :class:`~.result.Result`.
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
    base: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether it was trained to its end."""
        return self.state in ("finished", "stopped")

    @property
    def trained(self) -> bool:
        """Whether it took any step; a base model took none."""
        return bool(self.curve.get("step"))

    @property
    def family(self) -> str:
        """Its name without the seed: what its repetitions have in common."""
        return self.name.removesuffix(f"-{self.seed}").rstrip("-") if self.trained else self.name

    @property
    def identity(self) -> str:
        """Equal for records of one run, however far it had come: its name, its configuration, what it started from."""
        return identity(self.name, self.config, self.base)

    def series(self, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
        """Two columns of the curve, where both are known."""
        pairs = zip(self.curve.get(x, ()), self.curve.get(y, ()), strict=False)
        known = []
        for pair in pairs:
            if None not in pair:
                known.append(pair)
        columns = np.array(known, dtype=float).reshape(-1, 2)
        return columns[:, 0], columns[:, 1]

    def joined(self, newer: RunRecord) -> RunRecord:
        """Both records of one run as one: the newer, with what only this one measured if no training lies between.

        One that is over is not replaced by one that is not, another machine's, say. Of a base model what is recorded
        stays: it is measured again on every machine, and what was compared with it would move by its rounding. Pictures
        that it lacks it takes.
        """
        if self.state in OVER and newer.state not in OVER:
            return self
        if not self.trained and self._has_measured(newer):
            pictures = {**newer.pictures, **self.pictures}
            return self if pictures == self.pictures else replace(self, pictures=pictures)
        if (self.step, self.seconds) != (newer.step, newer.seconds):
            return newer
        return replace(
            newer,
            evaluations={**self.evaluations, **newer.evaluations},
            notes={**self.notes, **newer.notes},
            pictures={**self.pictures, **newer.pictures},
        )

    def showing(self, sheets: Container[str]) -> RunRecord:
        """With those pictures alone that are among ``sheets``, by their digests."""
        pictures = {role: key for role, key in self.pictures.items() if key in sheets}
        return self if pictures == self.pictures else replace(self, pictures=pictures)

    def trained_apart(self, other: RunRecord) -> bool:
        """Whether both are whole trainings of one run, one after the other or on two machines.

        One that was taken up again is further, or as far in the same time.
        """
        if self.identity != other.identity or not (self.trained and self.state in OVER and other.state in OVER):
            return False
        return self.step >= other.step and plain_json(self.seconds) != plain_json(other.seconds)  # one may be rounded

    def _has_measured(self, other: RunRecord) -> bool:
        """Whether this one has every score that the other has, of the same samples."""
        for role, theirs in other.evaluations.items():
            ours = self.evaluations.get(role)
            if ours is None or not theirs.scores.keys() <= ours.scores.keys():
                return False
            if (ours.prompts, ours.seed) != (theirs.prompts, theirs.seed):
                return False
        return True

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        evaluations = {role: _scores(each) for role, each in self.evaluations.items()}
        return dict(plain_json({**fields, "evaluations": evaluations}))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunRecord:
        """The inverse of :meth:`to_dict`."""
        evaluations = {role: Evaluation.from_dict(each) for role, each in data["evaluations"].items()}
        return cls(**{**data, "arguments": tuple(data["arguments"]), "evaluations": evaluations})


def identity(name: str, config: Mapping[str, Any], base: Mapping[str, str]) -> str:
    """What makes a run the same run."""
    described = json.dumps([name, plain_json(config), dict(base)], sort_keys=True)
    return f"{name}-{digest(described)}"


def curve(
    log: Iterable[Mapping[str, float | None]], queries: float, points: int = POINTS
) -> dict[str, list[float | None]]:
    """The log in columns with running totals, thinned to ``points``; lines with held-out scores are all kept.

    Args:
        queries: of one step, where the log does not say.
    """
    lines: list[dict[str, float | None]] = []
    seconds = 0.0
    for line in log:
        seconds += line.get("seconds") or 0.0
        total = line.get("total_queries") or (line["step"] or 0) * queries
        lines.append({**line, "seconds": seconds, "queries": total})
    every = max(1, math.ceil(len(lines) / points))
    thinned, names = [], dict[str, None]()
    for i, line in enumerate(lines):
        known = dict[str, None]()
        for key in line:
            if key in COLUMNS or key.startswith(FAMILIES):
                known[key] = None
        if i % every == 0 or known.keys() - COLUMNS or i == len(lines) - 1:
            thinned.append(line)
            names |= known
    columns = {}
    for name in names:
        columns[name] = [line.get(name) for line in thinned]
    return columns


def digest(text: str | bytes) -> str:
    """Twelve hexadecimal digits that say what something is."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()[:12]


def plain_json(value: Any, digits: int = DIGITS) -> Any:
    """What JSON can hold: so many significant digits, null for what is not finite, text for paths."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: plain_json(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item, digits) for item in value]
    return str(value) if isinstance(value, Path) else value


def _scores(evaluation: Evaluation) -> dict[str, Any]:
    """Without the summary, which follows from the scores, and image statistics and distances, which no target shows.

    What an evaluation does not have is left out, so that records keep their digests when evaluations learn more.
    """
    data = {**evaluation.to_dict(summarised=False), "statistics": {}, "distances": {}}
    data["scores"] = plain_json(data["scores"], SCORE_DIGITS)
    scores = {}
    for key, value in data.items():
        if value or key in ALWAYS:
            scores[key] = value
    return scores

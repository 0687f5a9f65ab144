"""The result of an evaluation: one score per sample and reward, kept so that anything can be computed from it later."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kedge.evaluation.run_log import words
from kedge.evaluation.statistics import Floats, Interval, mean_interval
from kedge.files import write_text

FORMAT = "kedge-evaluation-1"


@dataclass(frozen=True)
class Evaluation:
    """Scores of N samples, prompt by prompt.

    Attributes:
        name: what was evaluated, for tables ("base", a run's name, a folder).
        prompts: the prompt of each sample, N of them; equal prompts form one unit of the statistics.
        seed: what the noise was derived from; None for images made elsewhere.
        scores: reward name → ``[N]``.
        statistics: image statistic → ``[N]``, see :mod:`kedge.evaluation.image_statistics`.
        images: ``[M, H, W, 3]`` uint8, the first M samples, if they were kept; not part of the JSON.
        facts: anything else worth recording (steps, resolution, version; ``prompts``: their role).
        distances: from the base model, of a tuned one → ``[N]``, see :mod:`kedge.policies.distance`.
    """

    name: str
    prompts: tuple[str, ...]
    seed: int | None
    scores: dict[str, Floats]
    statistics: dict[str, Floats] = field(default_factory=dict)
    images: NDArray[np.uint8] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    distances: dict[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def prompt_words(self) -> str:
        """``66 test prompts``: how many different ones, and what they are to the training."""
        return f"{len(set(self.prompts))} {words(self.facts.get('prompts'))}"

    def interval(self, metric: str, **options: Any) -> Interval:
        """Mean and interval of one reward, image statistic or distance; options as in :func:`mean_interval`."""
        return mean_interval(self.values(metric), self.prompts, **options)

    def values(self, metric: str) -> Floats:
        """``[N]`` scores of one reward, image statistic or distance.

        Raises:
            KeyError: listing what there is.
        """
        for table in (self.scores, self.statistics, self.distances):
            if metric in table:
                return table[metric]
        known = ", ".join([*self.scores, *self.statistics, *self.distances])
        raise KeyError(f"{self.name} has no {metric!r}; it has {known}")

    def has(self, metric: str) -> bool:
        """Whether :meth:`values` knows it."""
        return any(metric in table for table in (self.scores, self.statistics, self.distances))

    def summary(self, **options: Any) -> dict[str, Interval]:
        """Mean and 95 % interval of every reward."""
        return {name: self.interval(name, **options) for name in self.scores}

    def to_dict(self, *, summarised: bool = True) -> dict[str, Any]:
        """JSON-ready, with a summary for people; lossless but for the images.

        Args:
            summarised: False leaves the summary empty, which takes most of the time.
        """
        summary = {**self.summary(), **{name: self.interval(name) for name in self.distances}} if summarised else {}
        return {
            "format": FORMAT,
            "name": self.name,
            "seed": self.seed,
            "facts": self.facts,
            "summary": {name: interval.to_dict() for name, interval in summary.items()},
            "prompts": list(self.prompts),
            "scores": _lists(self.scores),
            "statistics": _lists(self.statistics),
            "distances": _lists(self.distances),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Evaluation:
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: if ``data`` is something else, or its lists differ in length.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"not an evaluation: expected the key 'format' with the value {FORMAT!r}")
        prompts = tuple(data["prompts"])
        tables: dict[str, dict[str, Floats]] = {"scores": {}, "statistics": {}, "distances": {}}
        for kind, table in tables.items():
            for name, numbers in (data.get(kind, {}) if kind == "distances" else data[kind]).items():
                values = np.asarray(numbers, dtype=np.float64)
                if values.shape != (len(prompts),):
                    raise ValueError(f"{kind}.{name} has {values.size} values for {len(prompts)} prompts")
                table[name] = values
        return cls(
            data["name"],
            prompts,
            seed=data["seed"],
            scores=tables["scores"],
            statistics=tables["statistics"],
            facts=data["facts"],
            distances=tables["distances"],
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the JSON, whole or not at all."""
        return write_text(Path(path), json.dumps(self.to_dict(), ensure_ascii=False))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Evaluation:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: naming the file, if it is not an evaluation.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path} is not an evaluation that kedge wrote: {error}") from error


def _lists(table: Mapping[str, Floats]) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in table.items()}

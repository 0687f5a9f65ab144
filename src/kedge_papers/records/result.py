"""What a target's runs have shown: their records, with what the page says about them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kedge.evaluation.result import Evaluation
from kedge_papers.records.run_record import RunRecord


@dataclass(frozen=True)
class Result:
    """A target's result.

    Attributes:
        target: its name.
        facts: experiment set, budget, seeds, command, version: what the page says under the table.
        runs: in the target's order.
        extra: what a target adds (votes, for example), JSON-ready.
        sheets: digest → pictures of one run side by side, an image file's bytes.
    """

    target: str
    facts: Mapping[str, Any]
    runs: tuple[RunRecord, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)
    sheets: Mapping[str, bytes] = field(default_factory=dict)

    def run(self, name: str) -> RunRecord | None:
        """The run called ``name``."""
        return next((run for run in self.runs if run.name == name), None)

    @property
    def trained(self) -> list[RunRecord]:
        """The runs that took any step."""
        runs = []
        for run in self.runs:
            if run.trained:
                runs.append(run)
        return runs

    def starting(self, prefix: str) -> list[RunRecord]:
        """The runs whose names begin so."""
        runs = []
        for run in self.runs:
            if run.name.startswith(prefix):
                runs.append(run)
        return runs

    def on(self, reward: str) -> list[RunRecord]:
        """The runs that a table trains on a reward, by their names: ``kl--hpsv2--0``."""
        runs = []
        for run in self.runs:
            if f"--{reward}--" in run.name:
                runs.append(run)
        return runs

    def pictures(self, run: RunRecord, role: str) -> list[np.ndarray]:
        """The pictures kept of a run, ``[H, W, 3]`` uint8 each; empty if there are none."""
        from PIL import Image

        sheet = self.sheets.get(run.pictures.get(role, ""))
        if sheet is None:
            return []
        pixels = np.asarray(Image.open(io.BytesIO(sheet)).convert("RGB"))
        return list(np.split(pixels, pixels.shape[1] // pixels.shape[0], axis=1))


def sheet(pictures: np.ndarray) -> bytes:
    """Pictures ``[N, H, H, 3]`` uint8 side by side, as lossless WebP.

    ``quality`` is the effort: 100 takes sixteen times as long as 75 and saves a 250th of the bytes.
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(list(pictures), axis=1)).save(buffer, "WEBP", lossless=True, quality=75, method=6)
    return buffer.getvalue()


def merged(repetitions: Sequence[Evaluation], name: str) -> Evaluation:
    """Repetitions with other seeds as one: each sample's score is its mean over them.

    Raises:
        ValueError: there are none, or they are of different prompts.
    """
    if len({other.prompts for other in repetitions}) != 1:
        raise ValueError(f"{name}: repetitions of one run must be measured on the same prompts")
    first = repetitions[0]
    shared = set.intersection(*(set(each.scores) for each in repetitions))
    scores = {}
    for metric in first.scores:
        if metric in shared:
            scores[metric] = np.mean([each.scores[metric] for each in repetitions], axis=0)
    return Evaluation(name, first.prompts, first.seed, scores, facts={"seeds": len(repetitions)})

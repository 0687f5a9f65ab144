"""The transfer table: what remains of a training's gain where the model is sampled otherwise than it was trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from kedge.evaluation.report_parts import sample_picture, table_html
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Interval, paired_difference, ratio_interval
from kedge.evaluation.tables import Cell, Table, display
from kedge.files import read_json

AS_TRAINED = "as trained"
FOLDER, NUMBERS, GRID = "transfer", "transfer.json", "grid.png"


@dataclass(frozen=True, eq=False)
class Sampled:
    """Tuned and base model under one sampler, on the same prompts and noise."""

    label: str
    ours: Evaluation
    theirs: Evaluation


@dataclass(frozen=True)
class Gain:
    """What training did to one reward under one sampler.

    Attributes:
        difference: tuned − base, paired.
        remaining: as a share of the gain as trained, paired; None there itself, and where that gain may be zero.
    """

    difference: Interval
    remaining: Interval | None = None


@dataclass(frozen=True)
class Transfer:
    """The whole table.

    Attributes:
        trained: the rewards that were trained on.
        gains: sampler → reward → gain; the first sampler is the one of training.
        skipped: samplers that the model cannot have, and why.
        step: optimizer steps that the model had behind it.
        prompts: in words, on which it was measured.
    """

    trained: tuple[str, ...]
    gains: Mapping[str, Mapping[str, Gain]]
    skipped: Mapping[str, str]
    step: int
    prompts: str

    def table(self) -> Table:
        """Samplers down; the paired gain of each reward across, and the share that remains of those trained on."""
        first = self.gains[AS_TRAINED]
        headers, keys = list[str](), list[str]()
        for metric in first:
            shown = display(metric)
            headers.append(f"gain {shown.header}")
            keys.append(f"gain {metric}")
            if metric in self.trained:
                headers.append("remains")
                keys.append(f"remains {metric}")
        rows = [(label, tuple(self._cells(gains))) for label, gains in self.gains.items()]
        note = (
            f"Gain: tuned − base under the same sampler, paired, over {self.prompts}, at step {self.step}. Remains: as "
            "a share of the gain as trained (the first row), with Fieller's interval; dashes below where that gain may "
            "be zero. ± is half of the 95 % interval; bold excludes 0."
        )
        return Table("Sampler", tuple(headers), tuple(keys), tuple(rows), note=note)

    def _cells(self, gains: Mapping[str, Gain]) -> list[Cell | None]:
        cells: list[Cell | None] = []
        for metric, gain in gains.items():
            shown = display(metric)
            bold = gain.difference.excludes(0.0)
            cells.append(Cell(gain.difference, shown.scale, style="signed", bold=bold))
            if metric in self.trained:
                cells.append(Cell(gain.remaining, style="percent", digits=0) if gain.remaining else None)
        return cells

    def lines(self) -> list[str]:
        """Where the gain of each trained reward remains, where that is unclear, and what was not drawn."""
        sentences = [self._sentence(metric) for metric in self.trained]
        return [*sentences, *(f"{label} was left out: {why}" for label, why in self.skipped.items())]

    def _sentence(self, metric: str) -> str:
        remaining, unclear, lost = list[str](), list[str](), list[str]()
        for label, gains in self.gains.items():
            gain = gains[metric]
            if label == AS_TRAINED:
                continue
            if gain.difference.low > 0:
                remaining.append(f"{label} ({100 * gain.remaining.value:.0f} %)" if gain.remaining else label)
            elif gain.difference.high < 0:
                lost.append(label)
            else:
                unclear.append(label)
        title = display(metric).title
        if self.gains[AS_TRAINED][metric].difference.low <= 0:
            return f"{title} did not clearly gain as trained: there is nothing to transfer."
        parts = [f"remains under {', '.join(remaining)}"] if remaining else []
        parts += [f"is unclear under {', '.join(unclear)}"] if unclear else []
        parts += [f"turns into a loss under {', '.join(lost)}"] if lost else []
        return f"The gain in {title} {'; '.join(parts)}." if parts else f"{title}: no other sampler was drawn."

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, lossless."""
        gains: dict[str, Any] = {}
        for label, row in self.gains.items():
            gains[label] = {}
            for metric, gain in row.items():
                remaining = gain.remaining.to_dict() if gain.remaining else None
                gains[label][metric] = {"difference": gain.difference.to_dict(), "remaining": remaining}
        about = {"format": 1, "step": self.step, "prompts": self.prompts, "trained": list(self.trained)}
        return {**about, "gains": gains, "skipped": dict(self.skipped)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Transfer:
        """The inverse of :meth:`to_dict`."""
        gains = {}
        for label, row in data["gains"].items():
            gains[label] = {metric: Gain(*map(_interval, gain.values())) for metric, gain in row.items()}
        return cls(tuple(data["trained"]), gains, skipped=data["skipped"], step=data["step"], prompts=data["prompts"])


def _interval(data: Mapping[str, Any] | None) -> Any:
    if data is None:
        return None
    low = -math.inf if data["low"] is None else data["low"]
    high = math.inf if data["high"] is None else data["high"]
    return Interval(data["value"], low, high=high, units=data["units"], level=data["level"])


def transfer_of(sampled: Sequence[Sampled], trained: Sequence[str], skipped: Mapping[str, str], step: int) -> Transfer:
    """The table of what was measured.

    Args:
        sampled: the first as trained; all of the same prompts.
        trained: names of rewards.
    """
    first = sampled[0]
    gains = {}
    for other in sampled:
        gains[other.label] = {metric: _gain(other, first, metric) for metric in first.ours.scores}
    prompts = first.ours.prompt_words
    return Transfer(tuple(trained), gains, skipped=dict(skipped), step=step, prompts=prompts)


def _gain(sampled: Sampled, first: Sampled, metric: str) -> Gain:
    ours, theirs = sampled.ours.values(metric), sampled.theirs.values(metric)
    difference = paired_difference(ours, theirs, sampled.ours.prompts)
    if sampled is first:
        return Gain(difference)
    as_trained = first.ours.values(metric) - first.theirs.values(metric)
    return Gain(difference, ratio_interval(ours - theirs, as_trained, sampled.ours.prompts))


def read_transfer(run: Path) -> Transfer | None:
    """The table that a run folder keeps; None if it has none."""
    path = run / FOLDER / NUMBERS
    return Transfer.from_dict(read_json(path)) if path.is_file() else None


def transfer_section(run: Path) -> tuple[int | None, list[str]]:
    """At which step it was measured, and parts of report.html, a heading first; empty if it was not measured."""
    transfer = read_transfer(run)
    if transfer is None:
        return None, []
    parts = ["<h2>Under other samplers</h2>"]
    for line in transfer.lines():
        parts.append(f"<p>{escape(line)}</p>")
    parts.append(table_html(transfer.table()))
    grid = run / FOLDER / GRID
    return transfer.step, [*parts, sample_picture(grid)] if grid.is_file() else parts

"""Does a model bear noise between its steps? Its own rewards with noise, beside those of its ODE, in pairs.

Rewards are averaged, in standard deviations of the ODE's scores, into one number, as the alarm averages judges. The
margin is the alarm's, fixed before anything is drawn: a sampler is as good as the ODE if it loses less than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from kedge.evaluation.comparison import Comparison, compare, mean_change
from kedge.evaluation.diversity import DIVERSITIES
from kedge.evaluation.guard import MARGIN
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Interval, mean_interval
from kedge.evaluation.tables import Cell, Table, decimals, display

Finding = Literal["holds", "loses", "unclear"]
WORDS: dict[Finding, str] = {"holds": "holds", "loses": "loses", "unclear": "is unclear"}


@dataclass(frozen=True, eq=False)
class Draw:
    """One way of sampling, and what came of it.

    Attributes:
        steps: K.
        noise: how much a step draws afresh; None for a family without such a key.
        evaluation: of its pictures; None if it was refused.
        refused: why.
    """

    steps: int
    noise: float | None
    evaluation: Evaluation | None = None
    refused: str = ""

    def label(self, key: str | None) -> str:
        """``steps=4 renoise=1``."""
        return f"steps={self.steps}" if key is None else f"steps={self.steps} {key}={self.noise:g}"


@dataclass(frozen=True)
class Beside:
    """A sampler with noise beside the one with least noise, in as many steps.

    Attributes:
        change: the rewards' mean change, in standard deviations of the other's scores; None if they do not vary.
        comparison: reward by reward.
    """

    change: Interval | None
    comparison: Comparison

    @property
    def finding(self) -> Finding:
        """Whether it loses less than the margin, more, or one cannot tell."""
        if self.change is None:
            return "unclear"
        if self.change.low > -MARGIN:
            return "holds"
        return "loses" if self.change.high < 0 else "unclear"


@dataclass(frozen=True)
class Bearing:
    """All draws of a model.

    Attributes:
        key: of the ``model`` block that says how much noise; None if the family has none.
        draws: in the order of steps, then of noise.
    """

    key: str | None
    draws: tuple[Draw, ...]

    def __iter__(self) -> Iterator[Draw]:
        return iter(self.draws)

    @cached_property
    def beside(self) -> Mapping[Draw, Beside]:
        """Each draw that has a calmer one in as many steps, beside the calmest."""
        pairs = {}
        for draw in self.draws:
            calmest = self.calmest(draw.steps)
            if draw.evaluation is None or calmest is None or draw is calmest or calmest.evaluation is None:
                continue
            comparison = compare(draw.evaluation, calmest.evaluation)
            change = mean_change(comparison.rewards)
            pairs[draw] = Beside(None if change is None else mean_interval(change), comparison)
        return pairs

    def calmest(self, steps: int) -> Draw | None:
        """The draw with least noise in so many steps: the ODE, where that was drawn."""
        drawn = []
        for draw in self.draws:
            if draw.steps == steps and draw.evaluation is not None:
                drawn.append(draw)
        return min(drawn, key=lambda draw: draw.noise or 0.0, default=None)

    def table(self) -> Table:
        """Samplers down; rewards, diversity, and the change beside the least noise across."""
        drawn = []
        for draw in self.draws:
            if draw.evaluation is not None:
                drawn.append(draw)
        first = drawn[0].evaluation
        assert first is not None
        metrics = list(first.scores)
        for name in DIVERSITIES:
            if name in first.statistics:
                metrics.append(name)
        columns: list[list[Cell | None]] = []
        for metric in metrics:
            columns.append([*_column(drawn, metric)])
        columns.append([self._change(draw) for draw in drawn])
        rows = []
        for draw, *cells in zip(drawn, *columns, strict=True):
            rows.append((draw.label(self.key), tuple(cells)))
        headers = [display(metric).header for metric in metrics]
        note = (
            f"± is half of the 95 % interval over {first.prompt_words}. The last column is the rewards' mean change "
            "beside the least noise in as many steps, paired, in standard deviations of its scores."
        )
        return Table("Sampler", (*headers, "change, σ"), (*metrics, "change"), tuple(rows), note=note)

    def _change(self, draw: Draw) -> Cell | None:
        beside = self.beside.get(draw)
        if beside is None or beside.change is None:
            return None
        return Cell(beside.change, digits=2, style="signed", bold=beside.change.excludes(0.0))

    def advice(self) -> list[str]:
        """What to train with: a sentence for each number of steps."""
        numbers = dict.fromkeys(draw.steps for draw in self.draws)
        return list(map(self._advice, numbers))

    def _advice(self, steps: int) -> str:
        drawn = []
        for draw in self.draws:
            if draw.steps == steps:
                drawn.append(draw)
        refused = []
        for draw in drawn:
            if draw.refused:
                refused.append(f" {draw.label(self.key)} is refused: {draw.refused}.")
        compared = []
        for draw in drawn:
            if draw in self.beside:
                compared.append(draw)
        if self.key is None:
            return f"steps={steps}: the noise between steps of this family is as it is.{''.join(refused)}"
        if not compared:
            return f"steps={steps}: nothing to compare.{''.join(refused)}"
        calmest = self.calmest(steps)
        assert calmest is not None
        sentences = []
        for draw in compared:
            change = self.beside[draw].change
            size = f" ({_interval(change)})" if change else ""
            sentences.append(f"{self.key}={draw.noise:g} {WORDS[self.beside[draw].finding]}{size}")
        findings = f"steps={steps}, beside {self.key}={calmest.noise:g}: {'; '.join(sentences)}."
        return f"{findings} {self._choice(compared, calmest)}{''.join(refused)}"

    def _choice(self, compared: Sequence[Draw], calmest: Draw) -> str:
        holding = []
        for draw in compared:
            if self.beside[draw].finding == "holds":
                holding.append(draw)
        if holding:
            most = max(holding, key=lambda draw: draw.noise or 0.0)
            return f"Train with {self.key}={most.noise:g}."
        if any(self.beside[draw].finding == "unclear" for draw in compared):
            return "Draw more to tell: --count, --samples."
        return (
            f"Train with less noise than these, or with {self.key}={calmest.noise:g}"
            + ("" if calmest.noise else ": ROCM alone, with algorithm.divergence=none or algorithm.last_step_std")
            + "."
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: each draw with its means and intervals, and its change beside the least noise."""
        records = []
        for draw in self.draws:
            record: dict[str, Any] = {"steps": draw.steps, "noise": draw.noise}
            if draw.evaluation is None:
                records.append(record | {"refused": draw.refused})
                continue
            evaluation = draw.evaluation
            diversity = []
            for name in DIVERSITIES:
                if name in evaluation.statistics:
                    diversity.append(name)
            record["mean"] = {name: evaluation.interval(name).to_dict() for name in [*evaluation.scores, *diversity]}
            if (beside := self.beside.get(draw)) is not None:
                record["finding"] = beside.finding
                record["change"] = beside.change.to_dict() if beside.change else None
                record["differences"] = {c.metric: c.difference.to_dict() for c in beside.comparison.rewards}
            records.append(record)
        return {"key": self.key, "margin": MARGIN, "draws": records, "advice": self.advice()}


def _column(draws: Sequence[Draw], metric: str) -> list[Cell]:
    shown = display(metric)
    intervals = []
    for draw in draws:
        assert draw.evaluation is not None
        intervals.append(draw.evaluation.interval(metric))
    digits = decimals([interval.scaled(shown.scale) for interval in intervals])
    return [Cell(interval, shown.scale, digits) for interval in intervals]


def _interval(change: Interval) -> str:
    return f"{change.value:+.2f} σ, {change.low:+.2f} to {change.high:+.2f}".replace("-", "−")

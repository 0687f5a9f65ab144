"""One table of results, whatever it is printed as; see :mod:`kedge.evaluation.rendering` for the formats.

A best value is bold only where it is outside the interval of chance: where the paired difference to every other row
excludes zero, or, for rows that cannot be paired, where the intervals do not overlap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median
from typing import Literal

from kedge.evaluation.comparison import Comparison, paired
from kedge.evaluation.diversity import TITLES
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Interval, paired_difference
from kedge.rewards import REWARDS, display_title, single

Style = Literal["plain", "signed", "percent", "times", "range"]


@dataclass(frozen=True)
class Cell:
    """One number with its interval.

    Attributes:
        scale: display factor; files for machines hold the unscaled number.
        digits: decimals shown; None chooses two significant digits of the half width.
    """

    interval: Interval
    scale: float = 1.0
    digits: int | None = None
    style: Style = "plain"
    bold: bool = False

    @property
    def factor(self) -> float:
        """From the stored number to the one shown."""
        return 100.0 if self.style == "percent" else self.scale

    def texts(self) -> tuple[str, str]:
        """The value and its uncertainty as shown: ``("21.43", "± 0.12")``, ``("92 %", "(80–97)")``, ``("4.1 ×", …)``.

        A rate's interval is lopsided near 0 and 100 %, and a ratio's always, so their ends are shown, as those of
        ``range``; the uncertainty of a single unit, which is infinite, is left out.
        """
        shown = self.interval.scaled(self.factor)
        digits = decimals([shown]) if self.digits is None else self.digits
        value, low, high = (f"{x:.{digits}f}".replace("-", "−") for x in (shown.value, shown.low, shown.high))
        if self.style == "percent":
            return f"{value} %", f"({low} to {high})" if shown.low < 0 else f"({low}–{high})"
        if self.style == "times":
            return _times(shown)
        if self.style == "range":
            return value, f"({low}–{high})" if math.isfinite(shown.half_width) else ""
        if self.style == "signed":
            value = f"{shown.value:+.{digits}f}".replace("-", "−")
        return value, f"± {shown.half_width:.{digits}f}" if math.isfinite(shown.half_width) else ""


def _times(shown: Interval) -> tuple[str, str]:
    """A ratio: ``4.1 ×`` with its ends; open to a side on which it is only a bound."""
    value, low, high = (f"{x:.2g}" for x in (shown.value, shown.low, shown.high))
    if shown.low <= 0 and math.isinf(shown.high):
        return f"{value} ×", ""
    if math.isinf(shown.high):
        return f"≥ {value} ×", f"({low}–)"
    return (f"≤ {value} ×", f"(–{high})") if shown.low <= 0 else (f"{value} ×", f"({low}–{high})")


@dataclass(frozen=True)
class Table:
    """Rows of cells under headers; the first column labels the rows.

    Attributes:
        keys: machine names of the columns after the first, as ``headers`` are their names for people.
        row_keys: machine names of the rows, where their labels are not; files for machines have them.
    """

    corner: str
    headers: tuple[str, ...]
    keys: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    title: str = ""
    note: str = ""
    row_keys: tuple[str, ...] = ()

    def for_machines(self) -> list[tuple[str, tuple[Cell | None, ...]]]:
        """The rows under their machine names."""
        names = self.row_keys or [label for label, _ in self.rows]
        return [(name, cells) for name, (_, cells) in zip(names, self.rows, strict=True)]


@dataclass(frozen=True)
class Display:
    """How a metric is shown: ROCM's Table 1 prints HPS ×10, for example."""

    title: str
    scale: float = 1.0

    @property
    def header(self) -> str:
        """``HPSv2 ×10``."""
        return self.title if self.scale == 1 else f"{self.title} ×{self.scale:g}"


# How far a tuned model lies from its base; see kedge.policies.distance.
DISTANCES = {"path_kl": "path KL, nats", "rms_x0": "RMS change of x̂₀, σ"}


def display(metric: str, scales: dict[str, float] | None = None) -> Display:
    """Title and factor of a metric, an image statistic or a distance; ``scales`` overrides the factor."""
    if metric in DISTANCES:
        return Display(DISTANCES[metric])
    chosen, term = scales or {}, single(metric)
    name = term.name if term else metric
    usual = REWARDS[name].display if name in REWARDS else 1.0
    return Display(TITLES.get(metric) or display_title(metric), chosen.get(metric, chosen.get(name, usual)))


def decimals(intervals: Sequence[Interval]) -> int:
    """Decimals that show two significant digits of the typical half width (three of the value where there is none)."""
    halves = []
    for each in intervals:
        if math.isfinite(each.half_width) and each.half_width > 0:
            halves.append(each.half_width)
    size = median(halves) if halves else 0.05 * max((abs(each.value) for each in intervals), default=0.0)
    return 3 if size == 0 else min(6, max(0, 1 - math.floor(math.log10(size))))


def evaluation_table(
    evaluations: Sequence[Evaluation],
    metrics: Sequence[str] | None = None,
    scales: dict[str, float] | None = None,
    title: str = "",
) -> Table:
    """Models down, metrics across, as in the papers' Table 1.

    Args:
        metrics: rewards, image statistics or distances, in order; None for every reward and distance that appears.
        scales: display factors by metric name.
    """
    if metrics is None:
        names: dict[str, None] = {}
        for evaluation in evaluations:
            names |= dict.fromkeys(chain(evaluation.scores, evaluation.distances))
        metrics = list(names)
    headers, columns = [], []
    for metric in metrics:
        shown = display(metric, scales)
        headers.append(shown.header)
        columns.append(_column(evaluations, metric, shown))
    rows = []
    for i, evaluation in enumerate(evaluations):
        rows.append((evaluation.name, tuple(column[i] for column in columns)))
    prompts = " / ".join(sorted({evaluation.prompt_words for evaluation in evaluations}))
    note = f"± is half of the 95 % interval over {prompts}."
    if len(evaluations) > 1:
        note += " Bold: better than every other row beyond chance."
    return Table("Model", tuple(headers), keys=tuple(metrics), rows=tuple(rows), title=title, note=note)


def _column(evaluations: Sequence[Evaluation], metric: str, shown: Display) -> list[Cell | None]:
    intervals: list[Interval | None] = []
    for evaluation in evaluations:
        intervals.append(evaluation.interval(metric) if evaluation.has(metric) else None)
    digits = decimals([interval.scaled(shown.scale) for interval in intervals if interval is not None])
    best = _best(evaluations, metric)
    cells: list[Cell | None] = []
    for evaluation, interval in zip(evaluations, intervals, strict=True):
        bold = evaluation is best
        cells.append(None if interval is None else Cell(interval, shown.scale, digits, bold=bold))
    return cells


def _best(evaluations: Sequence[Evaluation], metric: str) -> Evaluation | None:
    """Only rewards have a better side; more edges or darker pixels are neither good nor bad."""
    rivals = [evaluation for evaluation in evaluations if metric in evaluation.scores]
    if len(rivals) < 2:
        return None
    top = max(rivals, key=lambda evaluation: evaluation.interval(metric).value)
    return top if all(rival is top or _beats(top, rival, metric) for rival in rivals) else None


def _beats(ours: Evaluation, theirs: Evaluation, metric: str) -> bool:
    if paired(ours, theirs):
        return paired_difference(ours.values(metric), theirs.values(metric), ours.prompts).low > 0
    return ours.interval(metric).low > theirs.interval(metric).high


def comparison_table(comparison: Comparison, scales: dict[str, float] | None = None, statistics: bool = False) -> Table:
    """Metrics down; base, tuned, paired difference and win rate across. Bold: a difference that excludes zero."""
    rows, names = [], []
    for change in comparison.statistics if statistics else comparison.rewards:
        names.append(change.metric)
        shown = display(change.metric, scales)
        digits = decimals([change.ours.scaled(shown.scale), change.theirs.scaled(shown.scale)])
        clear = change.rose or change.fell
        cells = (
            Cell(change.theirs, shown.scale, digits),
            Cell(change.ours, shown.scale, digits),
            # A paired difference is far more certain than either mean: at their precision it could read +0.0 ± 0.0.
            Cell(change.difference, shown.scale, style="signed", bold=clear),
            Cell(change.wins, style="percent", digits=0, bold=change.wins.excludes(0.5)),
        )
        rows.append((shown.header, cells))
    return Table(
        "Image statistic" if statistics else "Reward",
        (comparison.theirs, comparison.ours, "Difference", f"Higher than {comparison.theirs}"),
        ("theirs", "ours", "difference", "wins"),
        tuple(rows),
        row_keys=tuple(names),
        note=f"± is half of the 95 % interval over {comparison.prompts}; the difference is paired (same prompts, same "
        f"noise). Bold: beyond chance.{distance_note(comparison)}",
    )


def distance_note(comparison: Comparison) -> str:
    """`` Distance of tuned from its base: path KL 24.1 ± 3.0 nats, …``; empty where it was not measured."""
    facts = []
    for name, interval in comparison.distances.items():
        facts.append(f"{DISTANCES[name]} {' '.join(Cell(interval).texts())}")
    return f" Distance of {comparison.ours} from its base: {'; '.join(facts)}." if facts else ""

"""Several trainings as one row: means over their seeds and prompts, with the interval that counts both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Interval, mean_interval
from kedge.evaluation.tables import Cell, Table, decimals, display

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Groups = Mapping[str, Sequence[Evaluation]]


def group_interval(evaluations: Sequence[Evaluation], metric: str) -> Interval | None:
    """The mean of one metric over models trained alike with other seeds, and over prompts; None where none has it.

    Raises:
        ValueError: they were not measured on the same prompts.
    """
    measured = []
    for evaluation in evaluations:
        if evaluation.has(metric):
            measured.append(evaluation)
    if not measured:
        return None
    prompts = measured[0].prompts
    if any(evaluation.prompts != prompts for evaluation in measured):
        names = ", ".join(evaluation.name for evaluation in measured)
        raise ValueError(f"{names} were measured on different prompts: give all the same with --prompts and --count")
    values = np.stack([evaluation.values(metric) for evaluation in measured])
    return mean_interval(values if len(measured) > 1 else values[0], prompts)


def grouped_table(groups: Groups, corner: str, scales: dict[str, float] | None = None) -> Table:
    """Groups down, metrics across; each cell the mean over seeds and prompts.

    Args:
        groups: row → the evaluations of its models.
        corner: what the rows are: the key that differs.
        scales: display factors by metric.
    """
    evaluations = list(chain.from_iterable(groups.values()))
    metrics = list(dict.fromkeys(chain.from_iterable(evaluation.scores for evaluation in evaluations)))
    columns = []
    for metric in metrics:
        shown = display(metric, scales)
        intervals = [group_interval(members, metric) for members in groups.values()]
        digits = decimals([interval.scaled(shown.scale) for interval in intervals if interval is not None])
        columns.append([_cell(interval, shown.scale, digits) for interval in intervals])
    rows = []
    for i, (label, members) in enumerate(groups.items()):
        words = f"{label} ({len(members)} seeds)" if len(members) > 1 else label
        rows.append((words, tuple(column[i] for column in columns)))
    headers = tuple(display(metric, scales).header for metric in metrics)
    words = " / ".join(sorted({evaluation.prompt_words for evaluation in evaluations}))
    note = f"± is half of the 95 % interval over {words} and, where there are several, training seeds."
    return Table(corner, headers, tuple(metrics), tuple(rows), note=note)


def _cell(interval: Interval | None, scale: float, digits: int) -> Cell | None:
    return None if interval is None else Cell(interval, scale, digits)


def grouped_figure(table: Table) -> Figure:
    """A panel for each metric, a row for each group: the mean and its interval."""
    from matplotlib.figure import Figure

    height = 1.1 + 0.35 * len(table.rows)
    figure = Figure(figsize=(max(3.2, 2.6 * len(table.headers)), height), layout="constrained")
    panels = figure.subplots(1, len(table.headers), sharey=True, squeeze=False)[0]
    for i, (axes, header) in enumerate(zip(panels, table.headers, strict=True)):
        for place, (_, cells) in enumerate(reversed(table.rows)):
            cell = cells[i]
            if cell is not None:
                shown = cell.interval.scaled(cell.factor)
                axes.plot([shown.low, shown.high], [place, place], color="#1f5fa8", linewidth=2)
                axes.plot([shown.value], [place], color="#1f5fa8", marker="o", markersize=5)
        axes.set_title(header, fontsize=10)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right", "left"]].set_visible(False)
    panels[0].set_yticks(range(len(table.rows)), [label for label, _ in reversed(table.rows)])
    return figure

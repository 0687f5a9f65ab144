"""The frontier as a table and as a section of report.html."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from kedge.evaluation.charts import Curve, curve_chart
from kedge.evaluation.diversity import DIVERSITIES, WHERE
from kedge.evaluation.frontier import Frontier, Point
from kedge.evaluation.report_parts import sample_picture, table_html
from kedge.evaluation.statistics import Interval
from kedge.evaluation.tables import Cell, Table, display
from kedge.files import read_json

FOLDER, NUMBERS, WORST = "frontier", "frontier.json", "worst.png"
_NOTE = (
    "Paired changes from the base in standard deviations of its scores; ± is half of the 95 % interval over prompts."
)


def frontier_table(frontier: Frontier) -> Table:
    """Steps and strengths down; distance, rewards and judges across."""
    points = {"step": frontier.steps, "strength": frontier.strengths}
    return _points_table({kind: list(map(Point.to_dict, each)) for kind, each in points.items()})


def _points_table(points: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """Of points as ``frontier.json`` has them, by what they are labelled as."""
    first = next(iter(points.values()))[0]
    metrics, varied = tuple(first["rises"]), []
    for name in DIVERSITIES:
        if any(name in point.get("remaining", {}) for each in points.values() for point in each):
            varied.append(name)
    left = (f"% {WHERE[name].split()[0]}" for name in varied)
    headers = ("√KL", *(display(metric).title for metric in metrics), "judges", *left)
    rows = []
    for kind, each in points.items():
        for point in each:
            rows.append((f"{kind} {point['label']:g}", _cells(point, metrics, varied)))
    note = f"{_NOTE} % within, between: what is left of the base's diversity within a prompt and between prompts."
    note = note if varied else _NOTE
    return Table("", headers, keys=("distance", *metrics, "judges", *varied), rows=tuple(rows), note=note)


def _cells(point: Mapping[str, Any], metrics: Sequence[str], varied: Sequence[str]) -> tuple[Cell | None, ...]:
    cells: list[Cell | None] = [None]
    if point["distance"] is not None:  # of which no interval is shown
        cells = [Cell(Interval(point["distance"], -math.inf, math.inf, 1), digits=2)]
    for metric in metrics:
        known = point["rises"].get(metric)
        cells.append(Cell(_interval(known), digits=2, style="signed") if known else None)
    cells.append(Cell(_interval(point["judges"]), digits=3, style="signed"))
    for name in varied:
        share = point["remaining"].get(name)
        cells.append(Cell(_interval(share), scale=100, digits=0) if share else None)
    return tuple(cells)


def _interval(data: Mapping[str, Any]) -> Interval:
    """Of one prompt it has no ends, which JSON cannot say."""
    low = -math.inf if data["low"] is None else data["low"]
    high = math.inf if data["high"] is None else data["high"]
    return Interval(data["value"], low, high, data["units"])


def frontier_section(run: Path) -> tuple[int | None, list[str]]:
    """At which step it was measured (None: older records do not say), and parts of report.html, a heading first.

    There are none if ``kedge frontier`` was not run.
    """
    path = run / FOLDER / NUMBERS
    if not path.is_file():
        return None, []
    data = read_json(path)
    parts = ["<h2>How far to go</h2>", f'<p class="lead">{escape(data["advice"])}</p>', _charts(data)]
    parts.append(table_html(_peaks(data)) if data["peaks"] else "")
    if data["strengths"]:
        parts.append("<h3>The adapter at several strengths</h3>")
        parts.append(table_html(_points_table({"strength": data["strengths"]})))
    parts.append(f"<p>{escape(_shares(data))}</p>")
    parts.append(f"<p>{escape(_steps(data['kl_share']))}</p>" if data["kl_share"] else "")
    worst = run / FOLDER / WORST
    if worst.is_file():
        parts.append("<h3>What the judges marked down most</h3>")
        parts.append('<p class="note">Chosen because the judges like them least beside the base\'s; same noise.</p>')
        parts.append(sample_picture(worst))
    return data.get("step"), parts


def _charts(data: Mapping[str, Any]) -> str:
    """One chart a reward: its change against √KL, steps as dots, the fitted curve behind them."""
    charts = ""
    for metric in data["steps"][0]["rises"]:
        distances, rises = _series(data["steps"], metric)
        if len(distances) < 2:
            continue
        curves = [Curve(distances, rises, kind="points")]
        peak = data["peaks"].get(metric)
        if peak is not None:
            d = np.linspace(max(distances) / 100, max(distances), 100)
            curves.insert(0, Curve(d, d * (peak["alpha"] - peak["beta"] * np.log(d)), kind="raw"))
        title = f"{display(metric).title} against √KL"
        svg = curve_chart(curves, title, size=(4.6, 2.2), x_label="√KL")
        charts += f"<div><h3>{escape(title)}</h3>{svg}</div>"
    return f'<div class="charts">{charts}</div>' if charts else ""


def _series(points: Sequence[Mapping[str, Any]], metric: str) -> tuple[list[float], list[float]]:
    distances, rises = [], []
    for point in points:
        if point["distance"] is not None and metric in point["rises"]:
            distances.append(point["distance"])
            rises.append(point["rises"][metric]["value"])
    return distances, rises


def _peaks(data: Mapping[str, Any]) -> Table:
    rows, first = [], min((point["distance"] for point in data["steps"] if point["distance"]), default=0.0)
    for metric, peak in data["peaks"].items():
        cells: list[Cell | None] = [None]
        if peak["distance"] is not None and first <= peak["distance"] <= peak["farthest"]:
            cells = [Cell(Interval(peak["distance"], peak["low"], peak["high"], 1), digits=1, style="range")]
        share = Cell(Interval(peak["peaked"], -math.inf, math.inf, 1), scale=100, digits=0)
        rows.append((display(metric).title, (*cells, share)))
    return Table(
        "Reward",
        ("Peak at √KL", "% of draws that peak"),
        ("peak", "seen"),
        tuple(rows),
        note="R(d) = d (α − β ln d), d = √KL (Gao et al. 2022), fitted to the steps; in brackets Fieller's 95 % "
        "interval over prompts. –: no peak between the first look and the last. The second column is the share of "
        "1,000 bootstrap draws of prompts whose curve has one there.",
    )


def _shares(data: Mapping[str, Any]) -> str:
    rise, hacked = data["all_rise"], data["hacked"]
    return (
        f"At the last step every reward rose on {_percent(rise)} of the prompts; the trained one rose while the others "
        f"fell on {_percent(hacked)}."
    )


def _percent(share: Sequence[float]) -> str:
    return f"{100 * share[0]:.0f} % ({100 * share[1]:.0f}–{100 * share[2]:.0f})"


def _steps(shares: Mapping[str, float]) -> str:
    parts = [f"step {k}: {100 * share:.0f} %" for k, share in shares.items()]
    return f"Where the distance lies, from the noise to the picture: {', '.join(parts)}."

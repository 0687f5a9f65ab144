"""The parts of a report as HTML. Everything that comes from a user passes through :func:`escape`."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kedge.evaluation.charts import Curve, Effect, curve_chart, effects_chart
from kedge.evaluation.comparison import Change, Comparison
from kedge.evaluation.guard import Level, Verdict
from kedge.evaluation.tables import Cell, Table, display

PAIRS = 16  # pictures shown
_WIDEST = 384  # pixels of an embedded picture
_TONES: dict[Level, str] = {
    "sound": "good",
    "watch": "warn",
    "hacking": "bad",
    "worse": "bad",
    "unclear": "calm",
    "unchanged": "calm",
    "unjudged": "calm",
}

Line = Mapping[str, float | None]


def facts(items: Mapping[str, Any]) -> str:
    """A list of short facts; those that are None are left out."""
    rows = [
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in items.items()
        if value is not None
    ]
    return f'<dl class="facts">{"".join(rows)}</dl>'


def verdict_card(verdict: Verdict) -> str:
    """What the numbers say, with the reasons."""
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in verdict.reasons)
    return (
        f'<section class="verdict {_TONES[verdict.level]}"><strong>{escape(verdict.sentence)}</strong>'
        f"<ul>{reasons}</ul></section>"
    )


def table_html(table: Table, marked: Sequence[str] = ()) -> str:
    """A table; rows whose label is in ``marked`` carry the badge of trained rewards."""

    def cell_html(cell: Cell | None) -> str:
        if cell is None:
            return "<td>–</td>"
        value, uncertainty = (escape(text) for text in cell.texts())
        value = f"<b>{value}</b>" if cell.bold else value
        return f'<td>{value} <span class="pm">{uncertainty}</span></td>'

    head = "".join(f"<th>{escape(text)}</th>" for text in (table.corner, *table.headers))
    body = ""
    for label, cells in table.rows:
        badge = ' class="trained"' if label in marked else ""
        body += f"<tr{badge}><td>{escape(label)}</td>{''.join(map(cell_html, cells))}</tr>"
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}'


def effects(comparison: Comparison, trained: Sequence[str]) -> str:
    """The chart of changes: rewards, then image statistics, on one scale."""
    order = sorted(comparison.rewards, key=lambda change: change.metric not in trained)
    rows = [_effect(change, "") for change in order if np.isfinite(change.effect)]
    rows += [_effect(change, "neutral") for change in comparison.statistics if np.isfinite(change.effect)]
    if not rows:
        return ""
    return (
        f'<figure class="wide">{effects_chart(rows)}<figcaption>Paired changes with 95 % intervals. Rewards are green '
        "above and red below zero; what pictures look like is neither good nor bad in itself, but a large move is a "
        "warning.</figcaption></figure>"
    )


def _effect(change: Change, group: str) -> Effect:
    scale = 1 / change.spread if change.spread else 0.0
    low, high = change.difference.low * scale, change.difference.high * scale
    if not (np.isfinite(low) and np.isfinite(high)):
        low = high = change.effect
    return Effect(display(change.metric).title, change.effect, low, high, group)


def training_charts(log: Sequence[Line], reward: str) -> str:
    """Reward, divergence, and held-out rewards over the steps; empty if nothing was logged."""
    charts = [_chart(log, "reward", f"Training reward ({display(reward).title})", "smooth")]
    charts += [_chart(log, key, title, "smooth") for key, title in (("divergence", "Divergence from the base"),)]
    held_out = dict.fromkeys(key for line in log for key in line if key.startswith("held_out/"))
    for key in held_out:
        name = display(key.removeprefix("held_out/")).title
        charts.append(_chart(log, key, f"Held-out prompts: {name}", "points"))
    charts.append(_chart(log, "loss", "Loss", "smooth"))
    found = "".join(chart for chart in charts if chart)
    return f'<div class="charts">{found}</div>' if found else ""


def _chart(log: Sequence[Line], key: str, title: str, kind: Any) -> str:
    points = [(line["step"], line[key]) for line in log if line.get(key) is not None and line.get("step") is not None]
    if len(points) < 2:
        return ""
    x, y = zip(*points, strict=True)
    return f"<div><h3>{escape(title)}</h3>{curve_chart([Curve(x, y, kind=kind)], size=(4.6, 2.2))}</div>"


def pictures(theirs: NDArray[np.uint8], ours: NDArray[np.uint8], prompts: Sequence[str], names: tuple[str, str]) -> str:
    """Base beside tuned for the first prompts, from the same noise."""
    shown = min(PAIRS, len(theirs), len(ours))
    side = max(theirs.shape[1:3])
    crisp = " crisp" if side <= 128 else ""
    pairs = "".join(
        f'<figure class="pair{crisp}"><div>{_img(theirs[i])}<span>{escape(names[0])}</span></div>'
        f"<div>{_img(ours[i])}<span>{escape(names[1])}</span></div><figcaption>{escape(prompts[i])}</figcaption></figure>"
        for i in range(shown)
    )
    return f'<div class="pictures" style="--pair: {13 if side <= 128 else 24}rem">{pairs}</div>'


def sample_picture(path: Path) -> str:
    """A sample grid that training wrote."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img class="samples" alt="samples of {escape(path.stem)}" src="data:image/png;base64,{data}">'


def folded(title: str, text: str) -> str:
    """Something long, closed until it is wanted."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def _img(pixels: NDArray[np.uint8]) -> str:
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((_WIDEST, _WIDEST), Image.Resampling.LANCZOS)
    small = max(image.size) <= 128
    image.save(buffer, "PNG" if small else "JPEG", **({"optimize": True} if small else {"quality": 90}))
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" src="data:image/{"png" if small else "jpeg"};base64,{data}">'

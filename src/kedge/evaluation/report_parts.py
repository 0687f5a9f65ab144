"""The parts of a report as HTML. Everything that comes from a user passes through :func:`escape`."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kedge.evaluation.charts import Curve, Effect, curve_chart, effects_chart
from kedge.evaluation.comparison import Change, Comparison
from kedge.evaluation.declines import shown_declines
from kedge.evaluation.diversity import BETWEEN, WITHIN
from kedge.evaluation.guard import JURY, Verdict
from kedge.evaluation.picture_files import description_of
from kedge.evaluation.result import Evaluation
from kedge.evaluation.run_log import logged
from kedge.evaluation.tables import DISTANCES, Cell, Table, display

PAIRS = 16  # pictures shown
_WIDEST = 384  # pixels of an embedded picture
SMALL = 128  # pixels of a side up to which pictures are shown as they are, pixel by pixel
_BESIDE = 4  # as many of one model's pictures fit beside the other's
_DECLINES = {
    JURY: "Pictures that the judges mark down most",
    WITHIN: "One prompt, several noises: more alike than the base's",
    BETWEEN: "Other prompts: more alike than the base's",
}

Line = Mapping[str, float | None]


def facts(items: Mapping[str, Any]) -> str:
    """A list of short facts; those that are None are left out."""
    rows = []
    for name, value in items.items():
        if value is not None:
            rows.append(f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>")
    return f'<dl class="facts">{"".join(rows)}</dl>'


def verdict_card(verdict: Verdict) -> str:
    """What the numbers say, with the reasons."""
    level = verdict.record
    return (
        f'<section class="verdict {level.tone}"><strong><span aria-hidden="true">{level.sign}</span> '
        f"{escape(level.title)}</strong><ul>{elements('li', verdict.clauses)}</ul>"
        f"<p><b>What to do:</b> {escape(level.advice)}</p><details><summary>The numbers behind it</summary>"
        f"<ul>{elements('li', verdict.reasons)}</ul></details></section>"
    )


def elements(tag: str, texts: Iterable[str]) -> str:
    """An element around each text."""
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)


def table_html(table: Table, marked: Sequence[str] = ()) -> str:
    """A table; rows whose label is in ``marked`` carry the badge of trained rewards."""

    def cell_html(cell: Cell | None) -> str:
        if cell is None:
            return "<td>–</td>"
        value, uncertainty = map(escape, cell.texts())
        value = f"<b>{value}</b>" if cell.bold else value
        return f'<td>{value} <span class="pm">{uncertainty}</span></td>'

    head = elements("th", (table.corner, *table.headers))
    body = ""
    for label, cells in table.rows:
        badge = ' class="trained"' if label in marked else ""
        body += f"<tr{badge}><td>{escape(label)}</td>{''.join(map(cell_html, cells))}</tr>"
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    content = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return scrollable(table.title or f"Table by {table.corner.lower()}", content) + note


def scrollable(what: str, content: str) -> str:
    """Something that may be wider than a phone: it scrolls by itself, also by keyboard."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(what)}">{content}</div>'


def effects(comparison: Comparison, trained: Sequence[str]) -> str:
    """The chart of changes: rewards, then image statistics, on one scale."""
    order = sorted(comparison.rewards, key=lambda change: change.metric not in trained)
    rows = []
    for group, changes in (("", order), ("neutral", comparison.statistics)):
        for change in changes:
            if np.isfinite(change.effect):
                rows.append(_effect(change, group))
    if not rows:
        return ""
    chart = scrollable("Chart of changes", effects_chart(rows))
    return (
        f'<figure class="wide">{chart}<figcaption>Paired changes with 95 % intervals: ▲ rose and ▼ fell beyond chance, '
        "○ did not. Rewards that rose are green, those that fell red; what pictures look like is neither good nor bad "
        "in itself, but a large move is a warning.</figcaption></figure>"
    )


def _effect(change: Change, group: str) -> Effect:
    scale = 1 / change.spread if change.spread else 0.0
    low, high = change.difference.low * scale, change.difference.high * scale
    if not (np.isfinite(low) and np.isfinite(high)):
        low = high = change.effect
    return Effect(display(change.metric).title, change.effect, low=low, high=high, group=group)


def training_charts(log: Sequence[Line], reward: str) -> str:
    """Reward, divergence, and what was evaluated over the steps; empty if nothing was logged."""
    charts = _chart(log, "reward", f"Training reward ({display(reward).title})", "smooth")
    charts += _chart(log, "divergence", "Divergence from the base", "smooth")
    for distance, title in DISTANCES.items():
        charts += _chart(log, distance, f"Distance from the base: {title}", "points")
    for key in dict.fromkeys(chain.from_iterable(log)):
        if named := logged(key):
            prompts, metric = named
            charts += _chart(log, key, f"{prompts.capitalize()}: {display(metric).title}", "points")
    charts += _chart(log, "loss", "Loss", "smooth")
    return f'<div class="charts">{charts}</div>' if charts else ""


def _chart(log: Sequence[Line], key: str, title: str, kind: Any) -> str:
    x: list[float] = []
    y: list[float] = []
    for line in log:
        step, value = line.get("step"), line.get(key)
        if step is not None and value is not None:
            x.append(step)
            y.append(value)
    if len(x) < 2:
        return ""
    return f"<div><h3>{escape(title)}</h3>{curve_chart([Curve(x, y, kind=kind)], title, size=(4.6, 2.2))}</div>"


def pictures(theirs: Evaluation, ours: Evaluation) -> str:
    """Base beside tuned for the first prompts, from the same noise."""
    assert theirs.images is not None
    assert ours.images is not None
    shown = min(PAIRS, len(theirs.images), len(ours.images))
    return _groups([[i] for i in range(shown)], theirs, ours)


def declines(verdict: Verdict, theirs: Evaluation, ours: Evaluation) -> str:
    """The pictures that show what was lost; empty if nothing was, or no picture was kept."""
    sections = []
    for decline, groups in shown_declines(verdict, ours, theirs).items():
        sections.append(f"<h3>{escape(_DECLINES[decline])}</h3>{_groups(groups, theirs, ours)}")
    if not sections:
        return ""
    note = '<p class="note">Chosen among the pictures that were kept because they show it most.</p>'
    return "<h2>What was lost</h2>" + note + "".join(sections)


def _groups(groups: Sequence[Sequence[int]], theirs: Evaluation, ours: Evaluation) -> str:
    """Figures with the samples of a group, the base's beside (or, where there are many, above) the tuned model's."""
    assert theirs.images is not None
    small = max(theirs.images.shape[1:3]) <= SMALL
    figures = ""
    for group in groups:
        prompts = list(dict.fromkeys(ours.prompts[i] for i in group))
        sides = "".join(_side(side, group) for side in (theirs, ours))
        caption = f"<figcaption>{escape(prompts[0])}</figcaption>" if len(prompts) == 1 else ""
        kind = "pair" if len(group) <= _BESIDE else "pair stacked"
        figures += f'<figure class="{kind}{" crisp" if small else ""}">{sides}{caption}</figure>'
    width = (13 if small else 24) * min(2, max(map(len, groups)))
    if max(map(len, groups)) > _BESIDE:
        return figures
    return f'<div class="pictures" style="--pair: {width}rem">{figures}</div>'


def _side(evaluation: Evaluation, group: Sequence[int]) -> str:
    assert evaluation.images is not None
    images = ""
    for i in group:
        images += picture(evaluation.images[i], f"{evaluation.name}: {evaluation.prompts[i]}")
    return f'<div><div class="row">{images}</div><span>{escape(evaluation.name)}</span></div>'


def sample_picture(path: Path) -> str:
    """A sample grid that training wrote."""
    data = base64.b64encode(path.read_bytes()).decode()
    alt = f"Base beside tuned, {path.stem.replace('-', ' ')}. {description_of(path)}".strip()
    return f'<img class="samples" alt="{escape(alt)}" src="data:image/png;base64,{data}">'


def folded(title: str, text: str) -> str:
    """Something long, closed until it is wanted."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def picture(pixels: NDArray[np.uint8], description: str) -> str:
    """A picture inside the page, with words for those who do not see it; ``[H, W, 3]``."""
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((_WIDEST, _WIDEST), Image.Resampling.LANCZOS)
    small = max(image.size) <= SMALL
    image.save(buffer, "PNG" if small else "JPEG", **({"optimize": True} if small else {"quality": 90}))
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(description)}" src="data:image/{"png" if small else "jpeg"};base64,{data}">'

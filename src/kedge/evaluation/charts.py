"""Charts as SVG that takes its colours from the page: they follow light, dark and print by themselves."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

# Matplotlib writes these colours; the page's variables replace them. Unlikely values, so that nothing else is caught.
_VARIABLES = {
    "#010203": "var(--ink)",
    "#010204": "var(--faint)",
    "#010205": "var(--line)",
    "#010206": "var(--accent)",
    "#010207": "var(--good)",
    "#010208": "var(--bad)",
    "#010209": "var(--paper)",
}
INK, FAINT, LINE, ACCENT, GOOD, BAD, PAPER = _VARIABLES
POINTS = 300  # more than a chart of this width can show
LETTERS = 10  # points: as many pixels where a phone shows a chart


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Attributes:
        x, y: ``[N]``; values that are None or not finite are gaps.
        kind: ``raw`` (faint), ``smooth`` (a running mean in front of the raw one), or ``points`` (joined dots).
    """

    x: ArrayLike
    y: ArrayLike
    label: str = ""
    kind: Literal["raw", "smooth", "points"] = "smooth"


@dataclass(frozen=True)
class Effect:
    """One row of an effects chart: a change in standard deviations of the base, with its interval."""

    label: str
    value: float
    low: float
    high: float
    group: str = ""


def curve_chart(
    curves: Sequence[Curve], title: str, *, size: tuple[float, float] = (6.4, 2.6), x_label: str = "step"
) -> str:
    """Curves over steps, as an ``<svg>`` element; ``title`` is for those who do not see it."""
    figure, axes = _canvas(size)
    for curve in curves:
        x, y = _finite(curve)
        if curve.kind == "points":
            axes.plot(x, y, color=ACCENT, marker="o", markersize=3.5, linewidth=1.4, label=curve.label)
            continue
        x, y = _thin(x, y)
        if curve.kind == "smooth" and len(x) >= 8:
            axes.plot(x, y, color=FAINT, linewidth=0.7, alpha=0.45)
            y = smooth(y)
        axes.plot(x, y, color=ACCENT if curve.kind == "smooth" else FAINT, linewidth=1.6, label=curve.label)
    axes.set_xlabel(x_label, color=FAINT, fontsize=LETTERS)
    axes.margins(x=0.01)
    labelled = []
    for curve in curves:
        if curve.label:
            labelled.append(curve)
    if len(labelled) > 1:
        axes.legend(frameon=False, fontsize=LETTERS, labelcolor=INK)
    return _svg(figure, title)


def effects_chart(effects: Sequence[Effect]) -> str:
    """Changes with intervals beside a line at zero: right of it better, left of it worse."""
    figure, axes = _canvas((6.8, 0.5 + 0.29 * len(effects)))
    for row, effect in enumerate(reversed(effects)):
        marker, colour = _mark(effect)
        axes.plot([effect.low, effect.high], [row, row], color=colour, linewidth=2.2, solid_capstyle="round")
        inside = PAPER if marker == "o" else colour
        axes.plot([effect.value], [row], marker, color=colour, markersize=6, markerfacecolor=inside)
    axes.axvline(0, color=FAINT, linewidth=1)
    axes.set_yticks(range(len(effects)), [effect.label for effect in reversed(effects)], color=INK, fontsize=LETTERS)
    axes.set_ylim(-0.7, len(effects) - 0.3)
    axes.set_xlabel("change in standard deviations of the base model's scores", color=FAINT, fontsize=LETTERS)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    return _svg(figure, "Changes: " + "; ".join(f"{effect.label} {effect.value:+.2f}" for effect in effects))


def _mark(effect: Effect) -> tuple[str, str]:
    """A form and a colour: the form alone tells what rose, what fell, and what is unclear."""
    if effect.low > 0:
        return "^", INK if effect.group == "neutral" else GOOD
    if effect.high < 0:
        return "v", INK if effect.group == "neutral" else BAD
    return "o", FAINT


def smooth(y: np.ndarray) -> np.ndarray:
    """A running mean over about a twentieth of the curve, over what there is of it at the ends."""
    half = max(1, len(y) // 40)
    total = np.concatenate([[0.0], np.cumsum(y)])
    i = np.arange(len(y))
    first, last = np.maximum(i - half, 0), np.minimum(i + half + 1, len(y))
    means: np.ndarray = (total[last] - total[first]) / (last - first)
    return means


def _finite(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(curve.x, dtype=float), np.asarray(curve.y, dtype=float)
    keep = np.isfinite(x) & np.isfinite(y)
    return x[keep], y[keep]


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbours until at most POINTS are left."""
    if len(x) <= POINTS:
        return x, y
    starts = [part[0] for part in np.array_split(np.arange(len(x)), POINTS)]
    counts = np.diff([*starts, len(x)])
    return np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts


def _canvas(size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    figure = Figure(figsize=size, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(LINE)
    axes.tick_params(colors=FAINT, labelsize=LETTERS, length=0)
    axes.grid(color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Any, title: str) -> str:
    import matplotlib

    buffer = io.StringIO()
    # Text stays text, in the page's font; fixed salt and no date make equal data give equal bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "kedge", "font.family": "DejaVu Sans"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<(metadata|style).*?</\1>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r" font-family: [^;]*;", "", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return _self_contained(text, title).strip()


def _self_contained(svg: str, title: str) -> str:
    """Ids that no other chart on the page has, and a size that follows the page."""
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([\w.-]+)"', lambda match: match[0] if match[1] in used else "", svg)
    prefix = "c" + hashlib.sha1(svg.encode()).hexdigest()[:8]
    svg = re.sub(r'(url\(#|href="#| id=")([\w-]+)', rf"\1{prefix}\2", svg)
    opening = re.compile(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>')
    label = escape(title)
    return opening.sub(
        lambda tag: f'<svg viewBox="{tag[1]}" role="img" aria-label="{label}" class="chart">', svg, count=1
    )

"""How one metric changed, in words: for a verdict's reasons."""

from __future__ import annotations

import math

from kedge.evaluation.comparison import Change
from kedge.evaluation.statistics import Interval
from kedge.evaluation.tables import display

# Smaller moves nobody sees, however alike the base's pictures were.
_VISIBLE = {"brightness": 0.02, "dark_fraction": 0.02, "saturation": 0.02, "edge_density": 0.02, "colour_entropy": 0.2}
_WORDS = {
    "brightness": ("brighter", "darker"),
    "dark_fraction": ("darker", "with fewer dark areas"),
    "saturation": ("more vivid", "paler"),
    "edge_density": ("busier", "flatter"),
    "colour_entropy": ("richer in colours", "poorer in colours"),
}


def remaining_line(change: Change, remaining: Interval) -> str:
    """Which share of a diversity is left: ``Diversity within a prompt: 96 % of the base's (93–99)``."""
    share = f"{100 * remaining.value:.0f} % of the base's ({100 * remaining.low:.0f}–{100 * remaining.high:.0f})"
    return f"{display(change.metric).title}: {share}"


def moved(change: Change) -> bool:
    """By a standard deviation of the base's pictures, and visibly."""
    if change.metric not in _VISIBLE or not (change.rose or change.fell):
        return False
    return abs(change.difference.value) >= _VISIBLE[change.metric] and abs(change.effect) >= 1


def word(change: Change) -> str:
    """Which way a statistic of pictures went: ``brighter``, ``darker``; of those that are told."""
    up, down = _WORDS[change.metric]
    return up if change.difference.value > 0 else down


def sigma(effect: float) -> str:
    """``(+0.36 σ)`` with a space before it; nothing for what is not finite."""
    return f" ({effect:+.2f} σ)".replace("-", "−") if math.isfinite(effect) else ""


def change_line(change: Change) -> str:
    """What became of a metric: ``PickScore rose: 12.56 → 13.92 (+1.14 σ)``."""
    verb = "rose" if change.rose else "fell" if change.fell else "did not clearly move"
    values = f"{change.theirs.value:.4g} → {change.ours.value:.4g}".replace("-", "−")
    return f"{display(change.metric).title} {verb}: {values}{sigma(change.effect)}"

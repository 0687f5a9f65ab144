"""Krippendorff's α: how far raters agree beyond chance, whoever rated what and however much is missing.

α = 1 − observed disagreement / expected disagreement (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").
1 is perfect, 0 is chance. Outcomes are ordered (loss, tie, win), so by default a loss against a win disagrees more than
a tie against a win.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from kedge.evaluation.statistics import Floats

Level = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(units: Sequence[Sequence[float]], level: Level = "ordinal") -> float:
    """α of the ratings that each unit (pair) got; units with fewer than two say nothing about agreement.

    Args:
        units: for each unit its ratings, by whomever.
        level: how far two ratings are apart: ``nominal`` (equal or not), ``ordinal`` (by the ranks between them), or
            ``interval`` (their squared difference).

    Returns:
        At most 1; NaN if no unit has two ratings, or all ratings are equal.
    """
    paired = []
    for unit in units:
        if len(unit) > 1:
            paired.append(unit)
    values = np.unique(np.concatenate([[], *paired]))
    if len(values) < 2:
        return math.nan
    coincidences = np.zeros((len(values), len(values)))
    for unit in paired:
        counts = np.bincount(np.searchsorted(values, unit), minlength=len(values))
        coincidences += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    totals = coincidences.sum(0)
    distance = _distance(values, totals, level)
    expected = (np.outer(totals, totals) * distance).sum() / (totals.sum() - 1)
    return float(1 - (coincidences * distance).sum() / expected)


def _distance(values: Floats, totals: Floats, level: Level) -> Floats:
    if level == "nominal":
        return 1 - np.eye(len(values))
    if level == "interval":
        return np.asarray((values[:, None] - values[None]) ** 2)
    # Ordinal: the ratings between two values, and half of those at either end.
    upto = np.cumsum(totals) - totals / 2
    return np.asarray((upto[:, None] - upto[None]) ** 2)

"""Bradley–Terry strengths of several models from pairwise votes, with bootstrap intervals.

P(i beats j) = 1 / (1 + exp(s_j − s_i)) (Bradley and Terry 1952); a tie is half a win each. The strengths s are found by
Newton's method on the concave log-likelihood and sum to zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kedge.evaluation.statistics import Floats, Interval
from kedge.evaluation.t_distribution import two_sided_quantile


@dataclass(frozen=True)
class Votes:
    """Pairwise votes.

    Attributes:
        left, right: ``[V]`` indices of the two models shown.
        outcome: ``[V]`` 1 where left won, 0 where right won, 0.5 for a tie.
        groups: ``[V]`` labels of what is resampled together (prompt or rater); None resamples single votes.
    """

    left: NDArray[np.intp]
    right: NDArray[np.intp]
    outcome: Floats
    groups: Sequence[object] | None = None

    def wins(self, models: int, weights: Floats | None = None) -> Floats:
        """``[M, M]``: how often model i beat model j, each vote counted ``weights`` times."""
        w = np.ones(len(self.left)) if weights is None else weights
        table = np.zeros((models, models))
        np.add.at(table, (self.left, self.right), w * self.outcome)
        np.add.at(table, (self.right, self.left), w * (1 - self.outcome))
        return table


def bradley_terry(wins: ArrayLike, *, prior: float = 0.0) -> Floats:
    """Maximum-likelihood strengths ``[M]`` from ``wins`` ``[M, M]`` (i beat j).

    Args:
        prior: this many extra wins each way between every two models; a little keeps strengths finite when a model
            never lost or never won.

    Raises:
        ValueError: if the strengths are not determined: some group of models never lost to, or was never compared
            with, the others.
    """
    table = np.asarray(wins, dtype=np.float64) + prior
    np.fill_diagonal(table, 0)
    models = len(table)
    if not _strongly_connected(table > 0):
        raise ValueError(
            "Bradley–Terry strengths are not determined: a group of models never won against, or never met, the "
            "rest. Collect more votes, or give prior=0.1 for finite estimates"
        )
    totals = table + table.T
    strengths = np.zeros(models)
    for _ in range(200):
        p = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
        gradient = table.sum(1) - (totals * p).sum(1)
        information = totals * p * (1 - p)
        hessian = np.diag(information.sum(1)) - information
        step = np.linalg.solve(hessian + 1.0 / models, gradient)  # the constant fixes the free direction: Σ s = 0
        step *= min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))
        strengths = strengths + step
        if np.abs(step).max() < 1e-10:
            centred: NDArray[np.float64] = strengths - strengths.mean()
            return centred
    raise ArithmeticError("Bradley–Terry did not converge")


def bradley_terry_intervals(
    votes: Votes, models: int, *, prior: float = 0.1, level: float = 0.95, seed: int = 0, draws: int = 1000
) -> list[Interval]:
    """Strengths with Student's intervals, from the standard deviation of a bootstrap over whole groups of votes.

    Percentiles of the same bootstrap would hold the truth in 92 to 93 % of studies: resampling G groups leaves out a
    factor √(G / (G − 1)) of the spread, and the normal tails are too short. The prior keeps draws finite in which a
    model happens to lose every vote.
    """
    labels = range(len(votes.left)) if votes.groups is None else votes.groups
    order: dict[object, int] = {}
    index = np.array([order.setdefault(label, len(order)) for label in labels])
    groups = len(order)
    best = bradley_terry(votes.wins(models), prior=prior)
    rng = np.random.default_rng(seed)
    samples = np.empty((draws, models))
    for i in range(draws):
        counts = np.bincount(rng.integers(0, groups, groups), minlength=groups)
        samples[i] = bradley_terry(votes.wins(models, counts[index].astype(float)), prior=prior)
    return [
        _student(value, spread, len(order), level) for value, spread in zip(best, samples.std(0, ddof=1), strict=True)
    ]


def _student(value: float, spread: float, groups: int, level: float) -> Interval:
    if groups == 1:
        return Interval(float(value), -math.inf, high=math.inf, units=1, level=level)
    half = two_sided_quantile(level, groups - 1) * float(spread) * math.sqrt(groups / (groups - 1))
    return Interval(float(value), float(value) - half, high=float(value) + half, units=groups, level=level)


def _strongly_connected(edges: NDArray[np.bool_]) -> bool:
    """Whether every model can be reached from every other along wins."""
    reach = edges | np.eye(len(edges), dtype=bool)
    for _ in range(len(edges).bit_length()):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    return bool(reach.all())

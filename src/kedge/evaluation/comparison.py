"""Two evaluations of the same prompts and noise, metric by metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kedge.evaluation.diversity import DIVERSITIES, remaining_share
from kedge.evaluation.result import Evaluation
from kedge.evaluation.run_log import finite_or_null
from kedge.evaluation.statistics import (
    Floats,
    Interval,
    holm,
    paired_difference,
    paired_p,
    spread_of,
    unit_means,
    win_rate,
)


@dataclass(frozen=True)
class Change:
    """How one metric changed from theirs (the base) to ours (the tuned model).

    Attributes:
        ours, theirs: mean with interval.
        difference: paired difference with interval; the one to judge by.
        wins: share of samples on which ours scores higher, ties as half.
        spread: standard deviation of their scores over samples, the yardstick of :attr:`effect`.
        p, p_holm: paired t test, plain and adjusted for the number of metrics compared.
        by_prompt: ``[P, 2]``: the means of ours and theirs, prompt by prompt.
        remaining: of a diversity, the share of theirs that ours has, with interval.
    """

    metric: str
    ours: Interval
    theirs: Interval
    difference: Interval
    wins: Interval
    spread: float
    p: float = math.nan
    p_holm: float = math.nan
    by_prompt: Floats = field(default_factory=lambda: np.empty((0, 2)), compare=False, repr=False)
    remaining: Interval | None = None

    @property
    def clear(self) -> bool:
        """Whether the difference is beyond chance."""
        return self.difference.excludes(0.0)

    @property
    def rose(self) -> bool:
        """Whether it is clear and above zero."""
        return self.clear and self.difference.value > 0

    @property
    def fell(self) -> bool:
        """Whether it is clear and below zero."""
        return self.clear and self.difference.value < 0

    @property
    def effect(self) -> float:
        """The difference in standard deviations of the base model's scores."""
        if self.spread == 0:
            return math.copysign(math.inf, self.difference.value) if self.difference.value else 0.0
        return self.difference.value / self.spread

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        numbers = finite_or_null(_scalars(self))
        intervals = {key: getattr(self, key).to_dict() for key in ("ours", "theirs", "difference", "wins")}
        return {"metric": self.metric, **intervals, **numbers}


def _scalars(change: Change) -> dict[str, float]:
    return {"spread": change.spread, "effect": change.effect, "p": change.p, "p_holm": change.p_holm}


@dataclass(frozen=True)
class Comparison:
    """``ours`` against ``theirs``: one change per reward, and one per image statistic.

    Attributes:
        prompts: in words, on which they were measured: ``66 test prompts``.
        distances: of ours from its base, see :mod:`kedge.policies.distance`.
    """

    ours: str
    theirs: str
    rewards: tuple[Change, ...]
    statistics: tuple[Change, ...]
    prompts: str = "prompts"
    distances: Mapping[str, Interval] = field(default_factory=dict)

    def __getitem__(self, metric: str) -> Change:
        for change in (*self.rewards, *self.statistics):
            if change.metric == metric:
                return change
        raise KeyError(f"no metric {metric!r}; there are {', '.join(c.metric for c in self.rewards)}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "ours": self.ours,
            "theirs": self.theirs,
            "prompts": self.prompts,
            "distances": {name: interval.to_dict() for name, interval in self.distances.items()},
            "rewards": list(map(Change.to_dict, self.rewards)),
            "statistics": list(map(Change.to_dict, self.statistics)),
        }


def mean_change(changes: Sequence[Change]) -> Floats | None:
    """``[P]``: by how much the metrics changed on each prompt, in standard deviations of theirs, on average.

    None if nothing tells them apart: no metrics, or none that varies.
    """
    moves = []
    for change in changes:
        if len(change.by_prompt):
            moves.append((change.by_prompt[:, 0] - change.by_prompt[:, 1], change.spread))
    return mean_in_spreads(moves)


def mean_in_spreads(moves: Iterable[tuple[Floats, float]]) -> Floats | None:
    """The mean of changes, each divided by its spread; those whose spread is 0 say nothing. None if none is left."""
    scaled = []
    for move, spread in moves:
        if spread > 0:
            scaled.append(move / spread)
    mean: Floats | None = np.mean(scaled, axis=0) if scaled else None
    return mean


def paired(ours: Evaluation, theirs: Evaluation) -> bool:
    """Whether sample i of both is the same prompt from the same noise."""
    return ours.prompts == theirs.prompts and ours.seed == theirs.seed


def compare(ours: Evaluation, theirs: Evaluation) -> Comparison:
    """Compare every reward and image statistic that both have.

    Raises:
        ValueError: if the evaluations are not of the same prompts and seed, or share no metric.
    """
    if not paired(ours, theirs):
        what = "prompts" if ours.prompts != theirs.prompts else f"seeds ({ours.seed} and {theirs.seed})"
        raise ValueError(f"{ours.name} and {theirs.name} were evaluated on different {what}: evaluate both alike")
    rewards = []
    for name in ours.scores:
        if name in theirs.scores:
            rewards.append(_change(ours, theirs, name))
    statistics = []
    for name in ours.statistics:
        if comparable(ours, theirs, name):
            statistics.append(_change(ours, theirs, name))
    if not rewards and not statistics:
        raise ValueError(f"{ours.name} and {theirs.name} have no metric in common")
    return Comparison(
        ours.name,
        theirs.name,
        rewards=_with_p(ours, theirs, rewards),
        statistics=_with_p(ours, theirs, statistics),
        prompts=ours.prompt_words,
        distances={name: ours.interval(name) for name in ours.distances},
    )


def comparable(ours: Evaluation, theirs: Evaluation, statistic: str) -> bool:
    """Whether both have it, and, of diversity, by the same encoder."""
    same_encoder = ours.facts.get("encoder") == theirs.facts.get("encoder")
    return statistic in theirs.statistics and (same_encoder or statistic not in DIVERSITIES)


def _change(ours: Evaluation, theirs: Evaluation, metric: str) -> Change:
    a, b = ours.values(metric), theirs.values(metric)
    return Change(
        metric,
        ours.interval(metric),
        theirs=theirs.interval(metric),
        difference=paired_difference(a, b, ours.prompts),
        wins=win_rate(a, b, ours.prompts),
        by_prompt=np.stack([unit_means(a, ours.prompts), unit_means(b, ours.prompts)], 1),
        remaining=remaining_share(a, b, ours.prompts) if metric in DIVERSITIES else None,
        spread=spread_of(b),
    )


def _with_p(ours: Evaluation, theirs: Evaluation, changes: Sequence[Change]) -> tuple[Change, ...]:
    p = [paired_p(ours.values(c.metric), theirs.values(c.metric), ours.prompts) for c in changes]
    tested = []
    for change, plain, adjusted in zip(changes, p, holm(p), strict=True):
        tested.append(replace(change, p=plain, p_holm=float(adjusted)))
    return tuple(tested)

"""What the votes say: contests, ranking, agreement, and whether the raters can be trusted. Plain numpy."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kedge.evaluation.bradley_terry import Votes, bradley_terry_intervals
from kedge.evaluation.statistics import Interval, rate_interval, sign_test, wilson
from kedge.study.agreement import krippendorff_alpha
from kedge.study.questions import Question
from kedge.study.records import Record

MODELS_TO_RANK = 3


@dataclass(frozen=True)
class Contest:
    """Two models under one question; repeats left out.

    Attributes:
        wins, ties, losses: votes for ours, for neither, for theirs.
        shares: the same three as shares of all votes, each with its Wilson interval over prompts.
        rate: win rate of ours, a tie as half a win, Wilson over prompts.
        crossed: the same rate with a bootstrap interval over raters and prompts at once.
        prompts_won, prompts_lost: prompts on which most votes were for ours, for theirs.
        p: two-sided sign test over prompts.
        alpha: Krippendorff's, ordinal, over pairs. Each pair counts both ways round, because which of its pictures is
            called the first is arbitrary: without that, raters who agree on one model nearly always would look as if
            they agreed by chance.
    """

    question: str
    ours: str
    theirs: str
    wins: int
    ties: int
    losses: int
    shares: tuple[Interval, Interval, Interval]
    rate: Interval
    crossed: Interval
    prompts_won: int
    prompts_lost: int
    p: float
    alpha: float


@dataclass(frozen=True)
class RaterCheck:
    """One rater.

    Attributes:
        left, right: how often either side was chosen.
        repeats, flipped: repeated questions, and how often the answer turned to the other picture.
        seconds: median time of an answer; None if no page measured it.
        agreement: share of this rater's decided votes that agree with the majority of the others.
    """

    rater: str
    votes: int
    left: int
    right: int
    ties: int
    repeats: int
    flipped: int
    seconds: float | None
    agreement: float | None


@dataclass(frozen=True)
class Analysis:
    """Everything that a report shows.

    Attributes:
        ranking: question → model → Bradley–Terry strength; only with three models or more.
        left: share of the decided votes for the left picture, Wilson; ½ without position bias.
        left_p: two-sided sign test of that.
        seconds: quartiles of the time of an answer for each question.
    """

    questions: tuple[Question, ...]
    models: tuple[str, ...]
    votes: int
    prompts: int
    contests: tuple[Contest, ...]
    ranking: dict[str, dict[str, Interval]]
    raters: tuple[RaterCheck, ...]
    left: Interval | None
    left_p: float
    seconds: dict[str, tuple[float, float, float]]


def analyse(
    records: Sequence[Record], questions: Sequence[Question], models: Sequence[str], *, seed: int = 0, draws: int = 2000
) -> Analysis:
    """Analyse all votes of a study.

    Args:
        draws: of the bootstraps.

    Raises:
        ValueError: if there are no votes yet.
    """
    first = [record for record in records if not record.repeat]
    if not first:
        raise ValueError("this study has no votes yet")
    contests = [
        _contest(some, question.key, ours, theirs, seed, draws)
        for question in questions
        for ours, theirs in itertools.combinations(models, 2)
        if (some := [r for r in first if r.question == question.key and (r.first, r.second) == (ours, theirs)])
    ]
    ranking = {q.key: _ranking([r for r in first if r.question == q.key], models, seed, draws) for q in questions}
    left, right = (sum(r.choice == side for r in first) for side in ("left", "right"))
    bias = Interval(left / (left + right), *wilson(left, left + right), left + right) if left + right else None
    return Analysis(
        tuple(questions),
        tuple(models),
        len(first),
        len({r.prompt for r in first}),
        tuple(contests),
        {key: found for key, found in ranking.items() if found},
        tuple(_rater(records, rater) for rater in sorted({r.rater for r in records}, key=lambda name: int(name[1:]))),
        bias,
        sign_test(left, right),
        {q.key: found for q in questions if (found := _quartiles([r for r in records if r.question == q.key]))},
    )


def _contest(records: Sequence[Record], question: str, ours: str, theirs: str, seed: int, draws: int) -> Contest:
    outcomes = np.array([record.outcome for record in records])
    prompts = [record.prompt for record in records]
    won = {prompt: 0.0 for prompt in prompts}
    for record in records:
        won[record.prompt] += record.outcome - 0.5
    signs = np.sign(list(won.values()))
    by_pair: defaultdict[int, list[float]] = defaultdict(list)
    for record in records:
        by_pair[record.pair].append(record.outcome)
    three = [rate_interval((outcomes == value).astype(float), prompts) for value in (1.0, 0.5, 0.0)]
    up, down = int((signs > 0).sum()), int((signs < 0).sum())
    return Contest(
        question,
        ours,
        theirs,
        int((outcomes == 1).sum()),
        int((outcomes == 0.5).sum()),
        int((outcomes == 0).sum()),
        (three[0], three[1], three[2]),
        rate_interval(outcomes, prompts),
        crossed_bootstrap(outcomes, [r.rater for r in records], prompts, seed=seed, draws=draws),
        up,
        down,
        sign_test(up, down),
        krippendorff_alpha([side for own in by_pair.values() for side in (own, [1 - x for x in own])]),
    )


def crossed_bootstrap(
    outcomes: Any, raters: Sequence[object], prompts: Sequence[object], *, seed: int, draws: int, level: float = 0.95
) -> Interval:
    """The mean outcome, with a percentile interval that holds for other raters and for other prompts.

    Raters and prompts are resampled independently, and a vote counts as often as its rater and its prompt were drawn
    (Owen 2007, "The pigeonhole bootstrap": on the safe side, never too narrow for long).
    """
    x = np.asarray(outcomes, dtype=np.float64)
    who, what = (
        np.unique(np.array([str(label) for label in labels]), return_inverse=True)[1] for labels in (raters, prompts)
    )
    shape = (int(who.max()) + 1, int(what.max()) + 1)
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, (who, what), x)
    np.add.at(count, (who, what), 1)
    rng = np.random.default_rng(seed)
    rows, columns = (rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(float) for n in shape)
    weight = np.einsum("dr,rp,dp->d", rows, count, columns, optimize=True)
    means = np.einsum("dr,rp,dp->d", rows, total, columns, optimize=True)[weight > 0] / weight[weight > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(x.mean()), float(low), float(high), min(shape), level)


def _ranking(records: Sequence[Record], models: Sequence[str], seed: int, draws: int) -> dict[str, Interval]:
    """Strengths over prompts; nothing where two models need no ranking, or some model has no votes at all."""
    met = {name for record in records for name in (record.first, record.second)}
    if len(models) < MODELS_TO_RANK or met != set(models):
        return {}
    place = {model: i for i, model in enumerate(models)}
    votes = Votes(
        np.array([place[r.first] for r in records]),
        np.array([place[r.second] for r in records]),
        np.array([r.outcome for r in records]),
        [r.prompt for r in records],
    )
    strengths = bradley_terry_intervals(votes, len(models), seed=seed, draws=draws // 4)
    return dict(zip(models, strengths, strict=True))


def _rater(records: Sequence[Record], rater: str) -> RaterCheck:
    own = [r for r in records if r.rater == rater]
    first = [r for r in own if not r.repeat]
    before = {(r.pair, r.question): r.outcome for r in first}
    again = [(r.outcome, before[r.pair, r.question]) for r in own if r.repeat and (r.pair, r.question) in before]
    times = [r.seconds for r in own if r.seconds is not None]
    left, right, ties = (sum(r.choice == choice for r in first) for choice in ("left", "right", "tie"))
    flipped = sum({now, then} == {0.0, 1.0} for now, then in again)
    seconds = float(np.median(times)) if times else None
    agreement = _agreement(first, [r for r in records if r.rater != rater and not r.repeat])
    return RaterCheck(rater, len(first), left, right, ties, len(again), flipped, seconds, agreement)


def _agreement(own: Sequence[Record], others: Sequence[Record]) -> float | None:
    lead: defaultdict[tuple[int, str], float] = defaultdict(float)
    for record in others:
        lead[record.pair, record.question] += record.outcome - 0.5
    comparable = [
        (record.outcome - 0.5) * lead[record.pair, record.question] > 0
        for record in own
        if record.outcome != 0.5 and lead[record.pair, record.question] != 0
    ]
    return sum(comparable) / len(comparable) if comparable else None


def _quartiles(records: Sequence[Record]) -> tuple[float, float, float] | None:
    times = [record.seconds for record in records if record.seconds is not None]
    if not times:
        return None
    low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)


def to_dict(analysis: Analysis) -> dict[str, Any]:
    """JSON-ready."""
    data: dict[str, Any] = _plain(analysis)
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return value.to_dict()
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

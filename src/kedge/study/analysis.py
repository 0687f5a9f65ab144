"""What the votes say: contests, ranking, agreement, and whether the raters can be trusted. Plain numpy."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kedge.evaluation.bradley_terry import Votes, bradley_terry_intervals
from kedge.evaluation.statistics import Interval, crossed_rate, rate_interval, sign_test, wilson
from kedge.study.agreement import krippendorff_alpha
from kedge.study.questions import Question
from kedge.study.rater_checks import RaterCheck, check_raters
from kedge.study.records import Record, answer_times, column
from kedge.study.sides import sides_chosen

MODELS_TO_RANK = 3


@dataclass(frozen=True)
class Contest:
    """Two models under one question; repeats left out.

    Attributes:
        wins, ties, losses: votes for ours, for neither, for theirs.
        shares: the same three as shares of all votes, each with its Wilson interval over prompts.
        rate: win rate of ours, a tie as half a win, Wilson over prompts.
        crossed: the same rate with its interval over raters and prompts at once.
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
class Analysis:
    """Everything that a report shows.

    Attributes:
        ranking: question → model → Bradley–Terry strength; only with three models or more.
        left: share of the showings of a pair to a rater in which the left picture was chosen, of those with a choice,
            Wilson; ½ without position bias.
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
        seed, draws: of the bootstrap of a ranking.

    Raises:
        ValueError: if there are no votes yet.
    """
    first = []
    for record in records:
        if not record.repeat:
            first.append(record)
    if not first:
        raise ValueError("this study has no votes yet")
    contests: list[Contest] = []
    ranking: dict[str, dict[str, Interval]] = {}
    seconds: dict[str, tuple[float, float, float]] = {}
    for question in questions:
        answers = _about(first, question)
        contests += _contests(answers, question, models)
        strengths = _ranking(answers, models, seed, draws)
        if strengths:
            ranking[question.key] = strengths
        quartiles = _quartiles(_about(records, question))
        if quartiles:
            seconds[question.key] = quartiles
    left, right = sides_chosen(first)
    return Analysis(
        questions=tuple(questions),
        models=tuple(models),
        votes=len(first),
        prompts=len(set(column(first, "prompt"))),
        contests=tuple(contests),
        ranking=ranking,
        raters=tuple(check_raters(records)),
        left=Interval(left / (left + right), *wilson(left, left + right), left + right) if left + right else None,
        left_p=sign_test(left, right),
        seconds=seconds,
    )


def _about(records: Iterable[Record], question: Question) -> list[Record]:
    answers = []
    for record in records:
        if record.question == question.key:
            answers.append(record)
    return answers


def _contests(records: Sequence[Record], question: Question, models: Sequence[str]) -> Iterator[Contest]:
    """One for each two models that met."""
    for pair in itertools.combinations(models, 2):
        votes = []
        for record in records:
            if (record.first, record.second) == pair:
                votes.append(record)
        if votes:
            yield _contest(votes, question, *pair)


def _contest(records: Sequence[Record], question: Question, ours: str, theirs: str) -> Contest:
    outcomes, prompts = np.array(column(records, "outcome")), column(records, "prompt")

    def share(outcome: float) -> Interval:
        return rate_interval((outcomes == outcome).astype(float), prompts)

    lead: defaultdict[str, float] = defaultdict(float)
    for record in records:
        lead[record.prompt] += record.outcome - 0.5
    signs = np.sign(list(lead.values()))
    won, lost = int((signs > 0).sum()), int((signs < 0).sum())
    return Contest(
        question=question.key,
        ours=ours,
        theirs=theirs,
        wins=int((outcomes == 1).sum()),
        ties=int((outcomes == 0.5).sum()),
        losses=int((outcomes == 0).sum()),
        shares=(share(1.0), share(0.5), share(0.0)),
        rate=rate_interval(outcomes, prompts),
        crossed=_over_raters_and_prompts(outcomes, column(records, "rater"), prompts),
        prompts_won=won,
        prompts_lost=lost,
        p=sign_test(won, lost),
        alpha=krippendorff_alpha(_both_ways_round(records)),
    )


def _both_ways_round(records: Sequence[Record]) -> list[Sequence[float]]:
    """The outcomes of each pair, and the same with its two pictures exchanged."""
    by_pair: defaultdict[int, list[float]] = defaultdict(list)
    for record in records:
        by_pair[record.pair].append(record.outcome)
    units: list[Sequence[float]] = []
    for outcomes in by_pair.values():
        units.append(outcomes)
        units.append([1 - outcome for outcome in outcomes])
    return units


def _over_raters_and_prompts(outcomes: NDArray[np.float64], raters: Sequence[str], prompts: Sequence[str]) -> Interval:
    """The win rate for other raters and other prompts at once; a single vote knows of neither."""
    if len(set(raters)) == len(set(prompts)) == 1:
        return rate_interval(outcomes, prompts)
    return crossed_rate(outcomes, [raters, prompts])


def _ranking(records: Sequence[Record], models: Sequence[str], seed: int, draws: int) -> dict[str, Interval]:
    """Strengths over prompts; nothing where two models need no ranking, or some model has no votes at all."""
    met = {*column(records, "first"), *column(records, "second")}
    if len(models) < MODELS_TO_RANK or met != set(models):
        return {}
    votes = Votes(
        np.array(list(map(models.index, column(records, "first")))),
        np.array(list(map(models.index, column(records, "second")))),
        np.array(column(records, "outcome")),
        column(records, "prompt"),
    )
    strengths = bradley_terry_intervals(votes, len(models), seed=seed, draws=draws // 4)
    return dict(zip(models, strengths, strict=True))


def _quartiles(records: Iterable[Record]) -> tuple[float, float, float] | None:
    times = answer_times(records)
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

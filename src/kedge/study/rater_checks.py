"""Whether a rater can be trusted: sides, repeated answers, time, and agreement with the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kedge.study.records import Record, answer_times, column


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


def check_raters(records: Sequence[Record]) -> Iterator[RaterCheck]:
    """One check for each rater who voted, in the order of their numbers."""
    for rater in sorted(set(column(records, "rater")), key=lambda name: int(name[1:])):
        yield _check(records, rater)


def _check(records: Sequence[Record], rater: str) -> RaterCheck:
    own, first, others = list[Record](), list[Record](), list[Record]()
    before: dict[tuple[int, str], float] = {}
    for record in records:
        if record.rater == rater:
            own.append(record)
        if not record.repeat:
            (first if record.rater == rater else others).append(record)
    for record in first:
        before[record.pair, record.question] = record.outcome
    repeated = flipped = 0
    for record in own:
        earlier = before.get((record.pair, record.question))
        if record.repeat and earlier is not None:
            repeated += 1
            flipped += {record.outcome, earlier} == {0.0, 1.0}
    choices, times = Counter(column(first, "choice")), answer_times(own)
    return RaterCheck(
        rater=rater,
        votes=len(first),
        left=choices["left"],
        right=choices["right"],
        ties=choices["tie"],
        repeats=repeated,
        flipped=flipped,
        seconds=float(np.median(times)) if times else None,
        agreement=_agreement(first, others),
    )


def _agreement(own: Sequence[Record], others: Sequence[Record]) -> float | None:
    lead: defaultdict[tuple[int, str], float] = defaultdict(float)
    for record in others:
        lead[record.pair, record.question] += record.outcome - 0.5
    comparable = agreed = 0
    for record in own:
        majority = lead[record.pair, record.question]
        if record.outcome != 0.5 and majority != 0:
            comparable += 1
            agreed += (record.outcome - 0.5) * majority > 0
    return agreed / comparable if comparable else None

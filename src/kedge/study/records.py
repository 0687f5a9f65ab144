"""All votes of a study, joined with what was shown: where reports, exports and training begin."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from kedge.study.store import Store


@dataclass(frozen=True)
class Record:
    """One answer to one question about one pair.

    Attributes:
        vote: its number, in the order in which the votes came.
        rater: ``r1``, ``r2``, …; names are the owner's business.
        pair: the pair's number, from 1.
        seed: of the noise, or None for pictures made elsewhere.
        question: its key.
        first, second: the models' names; the two are equal for two pictures of one model.
        choice: ``left``, ``right`` or ``tie``, as the rater saw it.
        swapped: whether ``second`` stood on the left.
        repeat: an attention check: this rater had judged the pair before.
        seconds: how long it took, as the rater's page measured it.
        at: when it arrived, in seconds since 1970.
        files: of the first and the second picture.
    """

    vote: int
    rater: str
    position: int
    pair: int
    prompt: str
    seed: int | None
    question: str
    first: str
    second: str
    choice: str
    swapped: bool
    repeat: bool
    seconds: float | None
    at: float
    files: tuple[str, str]

    @property
    def outcome(self) -> float:
        """1 if the first picture won, 0 if the second did, ½ for a tie."""
        if self.choice == "tie":
            return 0.5
        return float((self.choice == "left") != self.swapped)

    @property
    def winner(self) -> str:
        """``first``, ``second`` or ``tie``."""
        return {1.0: "first", 0.0: "second", 0.5: "tie"}[self.outcome]


def read_records(store: Store) -> list[Record]:
    """Every vote, in the order in which they came."""
    questions = [question.key for question in store.facts().questions]
    names = dict(map(tuple, store.db.execute("SELECT id, name FROM model")))
    rows = store.db.execute(
        "SELECT v.id AS vote, s.rater, s.position, s.swapped, s.repeat, v.question, v.choice, v.milliseconds, v.at, "
        "p.id AS pair, p.prompt, p.seed, p.first_model, p.second_model, p.first_file, p.second_file "
        "FROM vote v JOIN showing s ON s.id = v.showing JOIN pair p ON p.id = s.pair ORDER BY v.id"
    )
    records = []
    for row in rows:
        record = Record(
            vote=row["vote"],
            rater=f"r{row['rater']}",
            position=row["position"],
            pair=row["pair"],
            prompt=row["prompt"],
            seed=row["seed"],
            question=questions[row["question"]],
            first=names[row["first_model"]],
            second=names[row["second_model"]],
            choice=row["choice"],
            swapped=bool(row["swapped"]),
            repeat=bool(row["repeat"]),
            seconds=None if row["milliseconds"] is None else row["milliseconds"] / 1000,
            at=row["at"],
            files=(row["first_file"], row["second_file"]),
        )
        records.append(record)
    return records


def column(records: Iterable[Record], name: str) -> list[Any]:
    """One attribute of every record."""
    return list(map(attrgetter(name), records))


def answer_times(records: Iterable[Record]) -> list[float]:
    """Seconds for each answer whose time is known."""
    seconds = []
    for record in records:
        if record.seconds is not None:
            seconds.append(record.seconds)
    return seconds


def model_facts(store: Store) -> dict[str, dict[str, Any]]:
    """The models by name, with what is known about them, in the order in which they were given."""
    rows = store.db.execute("SELECT name, facts FROM model ORDER BY id")
    return {row["name"]: json.loads(row["facts"]) for row in rows}

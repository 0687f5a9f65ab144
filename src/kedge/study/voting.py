"""What a rater may do: see where they are, answer the next question, take back the last answer. Nothing else.

The rules are here and not in the page: an answer that is forged, repeated or out of order is refused, and the refusal
carries the rater's true state, so that a page that lost its connection simply goes on.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from typing import Any, TypeGuard

from kedge.study.store import Store

CHOICES = ("left", "right", "tie")
LONGEST = 24 * 3600 * 1000  # milliseconds: what took longer was left open, and its time says nothing


class Refused(Exception):
    """A vote that the study does not take.

    Attributes:
        status: as an HTTP status: 400 malformed, 403 the study is stopped, 409 not the answer that is due.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What a page sends.

    Attributes:
        position, question: which answer this is, counted from 0.
        milliseconds: how long it took, as the page measured it; None where that is unknown, or more than a day.
        undone: how many answers the rater had taken back when they gave it; None where the page does not count.
    """

    position: int
    question: int
    choice: str
    milliseconds: int | None
    undone: int | None = None


@dataclass(frozen=True)
class _Due:
    """The next answer of a rater: position and question, or position = total when all is done."""

    position: int
    question: int
    total: int


def read_answer(data: Any) -> Answer:
    """Check what a page sent.

    Raises:
        Refused: 400, if it is not an answer.
    """
    if not isinstance(data, dict):
        raise Refused(400, "expected a JSON object")
    position, question = data.get("position"), data.get("question")
    if not (_whole(position) and _whole(question)):
        raise Refused(400, "position and question must be whole numbers from 0")
    if data.get("choice") not in CHOICES:
        raise Refused(400, f"choice must be one of {', '.join(CHOICES)}")
    taken = data.get("milliseconds")
    if taken is not None and not (type(taken) is int and taken >= 0):
        raise Refused(400, "milliseconds must be a whole number from 0")
    undone = data.get("undone")
    if undone is not None and not _whole(undone):
        raise Refused(400, "undone must be a whole number from 0")
    known = taken if taken is not None and taken <= LONGEST else None
    return Answer(position, question, choice=data["choice"], milliseconds=known, undone=undone)


def _whole(number: Any) -> TypeGuard[int]:
    return type(number) is int and 0 <= number < 2**31  # True is no number here


def state(store: Store, rater: int) -> dict[str, Any]:
    """Where a rater is: all that their page shows, and nothing about models, sides or other raters."""
    facts, due = store.facts(), _due(store.db, rater, store)
    row = store.db.execute(
        "SELECT p.prompt FROM showing s JOIN pair p ON p.id = s.pair WHERE s.rater = ? AND s.position = ?",
        (rater, due.position),
    ).fetchone()
    return {
        "title": facts.title,
        "questions": [question.text for question in facts.questions],
        "open": store.is_open(),
        "position": due.position,
        "question": due.question,
        "total": due.total,
        "prompt": None if row is None else row["prompt"],
        "undone": _undone(store.db, rater),
    }


def vote(store: Store, rater: int, answer: Answer) -> None:
    """Record the answer that is due.

    Raises:
        Refused: 403 if the study is stopped, 409 if another answer is due.
    """
    with store.writing() as db:
        _check_open(store)
        due = _due(db, rater, store)
        if (answer.position, answer.question) != (due.position, due.question):
            raise Refused(409, "another answer is due")
        _check_undone(db, rater, answer.undone)
        db.execute(
            "INSERT INTO vote (showing, question, choice, milliseconds, at) "
            "SELECT id, ?, ?, ?, ? FROM showing WHERE rater = ? AND position = ?",
            (answer.question, answer.choice, answer.milliseconds, time.time(), rater, answer.position),
        )


def undo(store: Store, rater: int, position: int, question: int, undone: int | None = None) -> None:
    """Take back the rater's last answer, which must be the one at ``position`` and ``question``; it is kept aside.

    Raises:
        Refused: 403 if the study is stopped, 409 if the last answer is another, or there is none.
    """
    with store.writing() as db:
        _check_open(store)
        due, questions = _due(db, rater, store), len(store.facts().questions)
        last = divmod(due.position * questions + due.question - 1, questions)
        if last != (position, question) or last[0] < 0:
            raise Refused(409, "that is not the last answer")
        _check_undone(db, rater, undone)
        key = {"rater": rater, "position": position, "question": question, "at": time.time()}
        where = (
            "question = :question AND showing = (SELECT id FROM showing WHERE rater = :rater AND position = :position)"
        )
        db.execute(f"INSERT INTO undone SELECT showing, question, choice, :at FROM vote WHERE {where}", key)
        db.execute(f"DELETE FROM vote WHERE {where}", key)


def picture_file(store: Store, rater: int, position: int, side: str) -> str | None:
    """The file of a picture that this rater may see now: past pairs, this one, and the next (to load ahead)."""
    if side not in ("left", "right") or position > _due(store.db, rater, store).position + 1:
        return None
    row = store.db.execute(
        "SELECT p.first_file, p.second_file, s.swapped FROM showing s JOIN pair p ON p.id = s.pair "
        "WHERE s.rater = ? AND s.position = ?",
        (rater, position),
    ).fetchone()
    if row is None:
        return None
    return str(row["second_file"] if (side == "left") == bool(row["swapped"]) else row["first_file"])


def _undone(db: sqlite3.Connection, rater: int) -> int:
    """How many answers a rater has taken back so far."""
    query = "SELECT count(*) FROM undone u JOIN showing s ON s.id = u.showing WHERE s.rater = ?"
    return int(db.execute(query, (rater,)).fetchone()[0])


def _check_undone(db: sqlite3.Connection, rater: int, undone: int | None) -> None:
    """Refuse a late copy of a request from before an answer was taken back: it would bring that answer back."""
    if undone is not None and undone != _undone(db, rater):
        raise Refused(409, "an answer was taken back since")


def _check_open(store: Store) -> None:
    if not store.is_open():
        raise Refused(403, "the study is stopped")


def _due(db: sqlite3.Connection, rater: int, store: Store) -> _Due:
    """Answers come in order, so their number says which is next."""
    done = db.execute(
        "SELECT count(*) FROM vote v JOIN showing s ON s.id = v.showing WHERE s.rater = ?", (rater,)
    ).fetchone()[0]
    total = db.execute("SELECT count(*) FROM showing WHERE rater = ?", (rater,)).fetchone()[0]
    position, question = divmod(done, len(store.facts().questions))
    return _Due(position, question, total)

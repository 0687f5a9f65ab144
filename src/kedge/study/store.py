"""A study on disk: one folder with ``study.sqlite`` (WAL) and ``pictures/``. Everything that is known is in there.

A vote is acknowledged after SQLite has written and synced it, so that nothing acknowledged is lost by a crash.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from kedge.study.design import Design, assign
from kedge.study.questions import Question

DATABASE, PICTURES = "study.sqlite", "pictures"
VERSION = 1
BUSY_SECONDS = 30

SCHEMA = """
CREATE TABLE study (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE model (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, facts TEXT NOT NULL);
CREATE TABLE pair (
    id INTEGER PRIMARY KEY, prompt TEXT NOT NULL, seed INTEGER,
    first_model INTEGER NOT NULL REFERENCES model, second_model INTEGER NOT NULL REFERENCES model,
    first_file TEXT NOT NULL, second_file TEXT NOT NULL);
CREATE TABLE rater (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, token TEXT NOT NULL, digest BLOB NOT NULL UNIQUE,
    created REAL NOT NULL);
CREATE TABLE showing (
    id INTEGER PRIMARY KEY, rater INTEGER NOT NULL REFERENCES rater, position INTEGER NOT NULL,
    pair INTEGER NOT NULL REFERENCES pair, swapped INTEGER NOT NULL, repeat INTEGER NOT NULL,
    UNIQUE (rater, position));
CREATE TABLE vote (
    id INTEGER PRIMARY KEY, showing INTEGER NOT NULL REFERENCES showing, question INTEGER NOT NULL,
    choice TEXT NOT NULL CHECK (choice IN ('left', 'right', 'tie')), milliseconds INTEGER, at REAL NOT NULL,
    UNIQUE (showing, question));
CREATE TABLE undone (showing INTEGER NOT NULL, question INTEGER NOT NULL, choice TEXT NOT NULL, at REAL NOT NULL);
"""


@dataclass(frozen=True)
class Facts:
    """What a study is.

    Attributes:
        title: raters see it: it must not tell what is compared.
        questions: asked of each pair, in turn.
        kind: ``models`` (different models, same noise), ``twins`` (two pictures of one model that share their first
            noise, as D3PO draws them) or ``siblings`` (two pictures of one model from different noise).
        owner: the token of the owner's page.
        secret: decides order and sides, with the design's seed; empty where nobody is to be kept in the dark.
    """

    title: str
    questions: tuple[Question, ...]
    design: Design
    kind: str
    owner: str
    secret: str = ""


@dataclass(frozen=True)
class PairRecord:
    """A pair as it is stored; models are indices, files are names inside ``pictures/``."""

    prompt: str
    seed: int | None
    first_model: int
    second_model: int
    first_file: str
    second_file: str


def new_token() -> str:
    """128 unguessable bits, for a link."""
    return secrets.token_urlsafe(16)


def digest(token: str) -> bytes:
    """What tokens are looked up by: the time of a comparison of digests says nothing about the token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class Store:
    """The database of one study; safe to use from many threads and processes at once."""

    def __init__(self, folder: Path):
        self.folder, self.pictures = folder, folder / PICTURES
        self._local, self._writing = threading.local(), threading.Lock()

    @property
    def db(self) -> sqlite3.Connection:
        """This thread's connection."""
        if not hasattr(self._local, "db"):
            # Opened for reading and writing only: a path that is no study must not become one.
            uri = f"{(self.folder / DATABASE).resolve().as_uri()}?mode=rw"
            db = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA synchronous = FULL")
            self._local.db = db
        connection: sqlite3.Connection = self._local.db
        return connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that either happens whole or not at all; one at a time. Inside another it is a part of it."""
        if self.db.in_transaction:
            with self._step("SAVEPOINT part", "RELEASE part", "ROLLBACK TO part; RELEASE part"):
                yield self.db
            return
        with self._writing, self._step("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"):
            yield self.db

    @contextmanager
    def _step(self, begin: str, end: str, back: str) -> Iterator[None]:
        self.db.execute(begin)
        try:
            yield
            self.db.execute(end)
        except BaseException:
            for statement in back.split("; ") if self.db.in_transaction else ():  # SQLite may have gone back already
                with suppress(sqlite3.Error):  # what went wrong first is what is told
                    self.db.execute(statement)
            raise

    def facts(self) -> Facts:
        """What the study is; it never changes."""
        if not hasattr(self, "_facts"):
            values = {row["key"]: json.loads(row["value"]) for row in self.db.execute("SELECT key, value FROM study")}
            self._facts = Facts(
                title=values["title"],
                questions=tuple(Question(**question) for question in values["questions"]),
                design=Design(**values["design"]),
                kind=values["kind"],
                owner=values["owner"],
                secret=values.get("secret", values["owner"]),  # studies of older versions have none
            )
        return self._facts

    def is_open(self) -> bool:
        """Whether votes are taken."""
        row = self.db.execute("SELECT value FROM study WHERE key = 'open'").fetchone()
        return bool(json.loads(row["value"]))

    def set_open(self, open_: bool) -> None:
        """Stop the study, or go on with it."""
        with self.writing() as db:
            db.execute("UPDATE study SET value = ? WHERE key = 'open'", (json.dumps(open_),))

    def add_rater(self, name: str = "") -> str:
        """Admit a rater, decide all that they will see, and return the token of their link."""
        facts = self.facts()
        token = new_token()
        with self.writing() as db:
            number = db.execute("SELECT count(*) FROM rater").fetchone()[0]
            matchups = list(map(tuple, db.execute("SELECT first_model, second_model FROM pair ORDER BY id")))
            row = (name.strip() or f"Rater {number + 1}", token, digest(token), time.time())
            rater = db.execute("INSERT INTO rater (name, token, digest, created) VALUES (?, ?, ?, ?)", row).lastrowid
            insert = "INSERT INTO showing (rater, position, pair, swapped, repeat) VALUES (?, ?, ?, ?, ?)"
            for i, showing in enumerate(
                assign(facts.design, number, matchups=matchups, shown=_shown(db), secret=facts.secret)
            ):
                db.execute(insert, (rater, i, showing.pair + 1, showing.swapped, showing.repeat))
        return token

    def rater(self, token: str) -> int | None:
        """The rater who owns ``token``."""
        row = self.db.execute("SELECT id FROM rater WHERE digest = ?", (digest(token),)).fetchone()
        return None if row is None else int(row["id"])

    def is_owner(self, token: str) -> bool:
        """Whether this is the owner's token, in constant time."""
        return secrets.compare_digest(digest(token), digest(self.facts().owner))

    def links(self) -> list[tuple[str, str]]:
        """Name and token of every rater."""
        return list(map(tuple, self.db.execute("SELECT name, token FROM rater ORDER BY id")))

    def close(self) -> None:
        """Close this thread's connection."""
        if hasattr(self._local, "db"):
            self._local.db.close()
            del self._local.db


def _shown(db: sqlite3.Connection) -> list[tuple[int, int]]:
    rows = db.execute(
        "SELECT count(s.id) - coalesce(sum(s.swapped), 0), coalesce(sum(s.swapped), 0) FROM pair p "
        "LEFT JOIN showing s ON s.pair = p.id AND NOT s.repeat GROUP BY p.id ORDER BY p.id"
    )
    return list(map(tuple, rows))


def open_study(folder: str | Path) -> Store:
    """Open a study.

    Raises:
        ValueError: if the folder is none, or of another version.
    """
    path = Path(folder)
    if not (path / DATABASE).is_file():
        raise ValueError(f"{path} is not a study: it has no {DATABASE} (kedge study new makes one)")
    store = Store(path)
    try:
        version = store.db.execute("PRAGMA user_version").fetchone()[0]
        if version == VERSION:
            store.facts(), store.is_open()
            for table in ("model", "pair", "rater", "showing", "vote", "undone"):
                store.db.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()
    except (sqlite3.DatabaseError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path / DATABASE} cannot be read as a study: {error}") from error
    if version != VERSION:
        raise ValueError(f"{path} is a study of version {version}; this Kedge reads version {VERSION}")
    return store


def write_study(
    folder: Path, facts: Facts, models: Sequence[tuple[str, dict[str, Any]]], pairs: Sequence[PairRecord]
) -> Store:
    """Write a new study's database into ``folder``, whose pictures are there already.

    Only its owner may read it: it holds the tokens of all links.
    """
    os.close(os.open(folder / DATABASE, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    db = sqlite3.connect(folder / DATABASE, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(SCHEMA)
    db.execute("BEGIN")
    values = {
        "title": facts.title,
        "questions": list(map(asdict, facts.questions)),
        "design": asdict(facts.design),
        "kind": facts.kind,
        "owner": facts.owner,
        "secret": facts.secret,
        "open": True,
        "created": time.time(),
    }
    for key, value in values.items():
        db.execute("INSERT INTO study VALUES (?, ?)", (key, json.dumps(value)))
    for i, (name, about) in enumerate(models):
        db.execute("INSERT INTO model VALUES (?, ?, ?)", (i, name, json.dumps(about)))
    insert = (
        "INSERT INTO pair (prompt, seed, first_model, second_model, first_file, second_file) VALUES (?, ?, ?, ?, ?, ?)"
    )
    db.executemany(insert, map(astuple, pairs))
    db.execute("COMMIT")
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.close()
    return Store(folder)

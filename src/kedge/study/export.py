"""Votes for other programs: a plain table, Pick-a-Pic's columns, and what D3PO trains on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kedge.study.records import Record, model_facts, read_records
from kedge.study.store import Store

COLUMNS = (
    "vote", "rater", "position", "pair", "prompt", "seed", "question", "first", "second", "swapped", "choice",
    "winner", "repeat", "seconds", "at", "first_picture", "second_picture",
)  # fmt: skip


FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a cell that is computed begins with


def votes_csv(store: Store) -> str:
    """Every vote, with what was shown: one row each, for spreadsheets.

    A prompt that a spreadsheet would take for a formula has an apostrophe before it.
    """
    rows = []
    for record in read_records(store):
        prompt = f"'{record.prompt}" if record.prompt.startswith(FORMULAS) else record.prompt
        first, second = record.files
        files = {"first_picture": f"pictures/{first}", "second_picture": f"pictures/{second}"}
        row = {**vars(record), "prompt": prompt, "winner": record.winner, "at": _time(record.at)}
        rows.append(row | files)
    return _csv(COLUMNS, rows)


def pickapic_rows(store: Store) -> list[dict[str, Any]]:
    """Votes on the first question under the column names of ``yuvalkirstain/pickapic_v1``; repeats left out.

    ``label_0`` is 1 where the first picture won, ½ for a tie. Pictures are in ``jpg_0`` and ``jpg_1`` (as bytes, in
    whatever format they have) only where a file can hold bytes; ``image_*_url`` is the path inside the study.
    """
    return list(map(_pickapic, main_votes(store)))


def _pickapic(record: Record) -> dict[str, Any]:
    first, second = record.files
    uids = {"first": Path(first).stem, "second": Path(second).stem, "tie": "tie"}
    return {
        "are_different": first != second,
        "best_image_uid": uids[record.winner],
        "caption": record.prompt,
        "created_at": _time(record.at),
        "has_label": True,
        "image_0_uid": uids["first"],
        "image_0_url": f"pictures/{first}",
        "image_1_uid": uids["second"],
        "image_1_url": f"pictures/{second}",
        "label_0": record.outcome,
        "label_1": 1 - record.outcome,
        "model_0": record.first,
        "model_1": record.second,
        "ranking_id": record.vote,
        "user_id": int(record.rater[1:]),
    }


def pickapic_csv(store: Store) -> str:
    """Pick-a-Pic's columns as CSV, without the pictures themselves."""
    rows = pickapic_rows(store)
    names = list(rows[0]) if rows else ["caption", "image_0_uid", "image_1_uid", "label_0", "label_1"]
    return _csv(names, rows)


def write_pickapic_parquet(store: Store, path: Path) -> None:
    """Pick-a-Pic's columns as Parquet, with the pictures.

    Raises:
        ValueError: if pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError("Parquet needs pyarrow: pip install pyarrow, or export to .csv") from error
    rows = pickapic_rows(store)
    for row in rows:
        for side in "01":
            row[f"jpg_{side}"] = (store.folder / row[f"image_{side}_url"]).read_bytes()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def d3po_jsonl(store: Store) -> str:
    """Votes as ``algorithm.votes`` of D3PO reads them (:mod:`kedge.algorithms.votes`): prompt, seed, preferred.

    Raises:
        ValueError: if the study does not compare two pictures of one base model, which is what D3PO draws again.
    """
    facts = next(iter(model_facts(store).values()))
    if store.facts().kind != "twins" or facts.get("tuned"):
        raise ValueError(
            "D3PO learns from two pictures of its own base model: make a study with --against itself on the model that "
            "you will train, without an adapter"
        )
    drawn = {}
    for name in ("steps", "guidance"):
        if facts.get(name) is not None:
            drawn[name] = facts[name]
    lines = []
    for record in main_votes(store):
        vote = {"prompt": record.prompt, "seed": record.seed, "preferred": 1 - record.outcome, **drawn}
        lines.append(json.dumps(vote, ensure_ascii=False) + "\n")
    return "".join(lines)


def main_votes(store: Store, question: str | None = None) -> list[Record]:
    """First-time votes on one question; by default on the study's first.

    Raises:
        ValueError: listing the questions, if there is no such one.
    """
    keys = [each.key for each in store.facts().questions]
    if question is not None and question not in keys:
        raise ValueError(f"this study has no question {question!r}; it asks {', '.join(keys)}")
    chosen = question or keys[0]
    votes = []
    for record in read_records(store):
        if record.question == chosen and not record.repeat:
            votes.append(record)
    return votes


def _csv(names: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


TEXTS: dict[str, Callable[[Store], str]] = {
    "votes.csv": votes_csv,
    "pickapic.csv": pickapic_csv,
    "d3po.jsonl": d3po_jsonl,
}

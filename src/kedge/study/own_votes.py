"""The rows of Kedge's own votes.csv that are one opinion each: on the first question, and no attention checks."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kedge.study.export import FORMULAS

Numbered = tuple[int, Mapping[str, Any]]

log = logging.getLogger(__name__)

MARKS = frozenset(("rater", "pair", "question", "swapped", "repeat", "winner", "first_picture", "second_picture"))
YES = ("true", "1")  # spreadsheets write TRUE


def main_rows(rows: Iterable[Mapping[str, Any]], file: Path) -> list[Numbered]:
    """The rows that count, each with its number from 1: all of other programs' files, a selection of Kedge's own.

    What is left out is said in the log.
    """
    numbered = list(enumerate(rows, start=1))
    if not numbered or not MARKS.issubset(numbered[0][1]):
        return numbered
    first = _without_checks(numbered, file)
    questions = list(dict.fromkeys(str(row.get("question")) for _, row in first))
    if len(questions) > 1:
        log.warning(
            "%s answers %s: the votes on %r are taken (for others, leave only their rows in the file)",
            *(file, ", ".join(questions), questions[0]),
        )
    judgements: list[Numbered] = []
    for number, row in first:
        if str(row.get("question")) == questions[0]:
            judgements.append((number, {**row, "prompt": _plain(row.get("prompt"))}))
    return judgements


def _without_checks(rows: list[Numbered], file: Path) -> list[Numbered]:
    judgements = []
    for number, row in rows:
        if str(row.get("repeat")).strip().lower() not in YES:
            judgements.append((number, row))
    if len(judgements) < len(rows):
        log.warning("%s: %d attention checks are left out", file, len(rows) - len(judgements))
    return judgements


def _plain(prompt: Any) -> str:
    """Without the apostrophe that keeps a spreadsheet from computing it: see :func:`kedge.study.export.votes_csv`."""
    text = str(prompt or "")
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULAS) else text

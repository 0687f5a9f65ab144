"""Tables in text files as people have them: commas or semicolons, with a header or without."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_NUMBER = re.compile(r"\s*[-+]?[0-9]+(\.[0-9]+)?\s*")
_NAME = re.compile(r"[\w.-]+")  # what a column is called; a prompt has spaces


class TableError(ValueError):
    """A table that cannot be read; the message names file and line."""


@dataclass(frozen=True)
class Table:
    """Rows of texts.

    Attributes:
        header: the names of the columns; None for a single column without a name.
    """

    header: tuple[str, ...] | None
    rows: list[list[str]]


def read_table(path: Path, delimiters: str, names: Sequence[str], *, header: bool = False) -> Table:
    """Read a table, whichever of ``delimiters`` its columns are separated by.

    Args:
        delimiters: the usual one first.
        names: of which one should stand in the header.
        header: whether a column is asked for, so that the first line is one if it has several cells.

    Raises:
        TableError: an unclosed quote, or two columns of one name.
    """
    text = path.read_bytes().decode("utf-8-sig")
    delimiter = _delimiter(text.partition("\n")[0].rstrip("\r"), delimiters, names)
    rows = _rows(text, delimiter, path)
    if not rows:
        return Table(None, [])
    first = [cell.strip() for cell in rows[0]]
    if len(first) == 1 and first[0] not in names and not header and _one_word_each(rows):
        return Table(None, rows)
    if not any(name in first for name in names) and not all(map(_NAME.fullmatch, first)):
        # Perhaps no header; then commas are those of the prompts, unless quotes or other separators say otherwise.
        plain = len(first) > 1 and delimiter == "," and '"' not in text and not header
        rows = _rows(text, "\0", path) if plain else rows
        if len(rows[0]) == 1:
            if '"' not in text:
                _refuse_numbers(path, rows, delimiters, names[0])
            return Table(None, rows)
    twice = []
    for name in first:
        if first.count(name) > 1:
            twice.append(name)
    if twice:
        raise TableError(f"{path} has {first.count(twice[0])} columns {twice[0]!r}: which one holds the prompts?")
    return Table(tuple(first), rows[1:])


def _one_word_each(rows: list[list[str]]) -> bool:
    """A column of prompts of one word: its first is no more a name than the others are."""
    return all(len(row) == 1 and _NAME.fullmatch(row[0].strip()) for row in rows)


def _refuse_numbers(path: Path, rows: list[list[str]], delimiters: str, name: str) -> None:
    """A column of numbers beside the prompts is no part of them: such a table needs a header."""
    for delimiter in delimiters:
        table = [_cells(row[0], delimiter) for row in rows]
        width = len(table[0])
        if len(table) < 2 or width < 2 or any(len(row) != width for row in table):
            continue
        if any(all(map(_NUMBER.fullmatch, column)) for column in zip(*table, strict=True)):
            raise TableError(
                f"{path} has no header, but a column of numbers (separated by {delimiter!r}): begin it with a line "
                f"that names the columns, as {name}{delimiter}number, or put each line in quotes if the numbers belong "
                "to it"
            )


def _delimiter(line: str, delimiters: str, names: Sequence[str]) -> str:
    """What separates the columns of the first line: where a known name stands apart, else what is usual or occurs."""
    for delimiter in delimiters:
        if any(name in _cells(line, delimiter) for name in names):
            return delimiter
    for delimiter in delimiters:
        cells = _cells(line, delimiter)
        if len(cells) > 1 and all(map(_NAME.fullmatch, cells)):
            return delimiter
    return delimiters[0]


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])]


def _rows(text: str, delimiter: str, path: Path) -> list[list[str]]:
    """All rows that are not empty; a line ends where csv says, so quoted cells may hold any line end."""
    # People write a space after a comma, before a quote as well.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    rows = []
    try:
        for row in reader:
            if row:
                rows.append(row)
    except csv.Error as error:
        raise TableError(f"{path}, line {reader.line_num}: {error} (is a quote left open?)") from error
    return rows

"""Prompts out of files: text, CSV, TSV, JSON, JSONL, Parquet; and out of a hub data set's Parquet files."""

from __future__ import annotations

import json
import logging
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from kedge.files import text_lines
from kedge.prompts.tables import TableError, read_table
from kedge.registry import suggest

log = logging.getLogger(__name__)


class PromptError(ValueError):
    """Prompts that cannot be had; the message says what to do."""


USUAL_COLUMNS = ("prompt", "Prompt", "caption", "text", "prompts", "TEXT")


# What prompt files of kohya's scripts and the like put behind a prompt: " --w 512 --h 768 --d 42 --n bad hands".
_FLAGS = re.compile(r"\s--[a-z]{1,3}\s+(?=\S)")


def read_file(path: Path, column: str | None = None) -> list[str]:
    """Read prompts from a file, by its ending.

    Args:
        path: ``.txt`` (one a line), ``.csv``, ``.tsv``, ``.json`` (a list), ``.jsonl`` or ``.parquet``.
        column: which column, for tables; None picks one of the usual names.

    Raises:
        PromptError: for a missing file or column, or an ending that is not known.
    """
    if path.is_dir():
        raise PromptError(f"{path} is a folder: name one file of it, one of {', '.join(READERS)}")
    if not path.is_file():
        raise PromptError(f"no such prompt file: {path}")
    try:
        reader = READERS[path.suffix.lower()]
    except KeyError:
        raise PromptError(f"{path}: cannot read {path.suffix or 'this'} files; use {', '.join(READERS)}") from None
    try:
        return reader(path, column)
    except UnicodeDecodeError as error:
        raise PromptError(f"{path} is not UTF-8 text: {error}") from error
    except TableError as error:
        raise PromptError(str(error)) from error


def _text(path: Path, column: str | None) -> list[str]:
    """A prompt a line, without comments (``# …``) and the flags of prompt files for sampling (``--w 512 --d 42``)."""
    prompts, flagged = [], 0
    lines = text_lines(path)
    for line in lines:
        if line.startswith("#"):
            continue
        prompt = _FLAGS.split(line, maxsplit=1)[0]
        flagged += prompt != line
        prompts.append(prompt)
    if len(prompts) < len(lines):
        log.warning("%s: %d lines that start with # are comments: left out", path, len(lines) - len(prompts))
    if flagged:
        log.warning("%s: flags (--w 512, --d 42, --n …) are left out of %d prompts", path, flagged)
    return prompts


def _table(delimiters: str) -> Callable[[Path, str | None], list[str]]:
    def read(path: Path, column: str | None) -> list[str]:
        table = read_table(path, delimiters, (column,) if column else USUAL_COLUMNS, header=column is not None)
        if table.header is None:
            if column is not None:
                raise PromptError(
                    f"{path} has no header, so it has no column {column!r}: name the columns in its first line"
                )
            return [row[0] for row in table.rows]
        name = choose_column(table.header, column, str(path))
        if column is None and name not in USUAL_COLUMNS:
            log.warning("%s: its first line, %r, is taken for the name of the column, not for a prompt", path, name)
        place = table.header.index(name)
        prompts = []
        for row in table.rows:
            prompts.append(row[place] if place < len(row) else "")  # a row may be cut short
        return prompts

    return read


def _json(path: Path, column: str | None) -> list[str]:
    items = _parsed(path.read_text(encoding="utf-8-sig"), str(path))
    if not isinstance(items, list):
        raise PromptError(f"{path} must hold a list of prompts or of objects, not {type(items).__name__}")
    return _objects({f"item {number}": item for number, item in enumerate(items, start=1)}, column, str(path))


def _jsonl(path: Path, column: str | None) -> list[str]:
    items = {}
    for number, line in enumerate(text_lines(path), start=1):
        if line.strip():
            items[f"line {number}"] = _parsed(line, f"{path}, line {number},")
    return _objects(items, column, str(path))


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and nests without an end
        raise PromptError(f"{where} is not valid JSON: {error}") from error


def _objects(items: Mapping[str, Any], column: str | None, where: str) -> list[str]:
    """Plain strings, or one key of each object; by the place where they stand."""
    prompts, name = [], None
    for place, item in items.items():
        if isinstance(item, dict):
            name = name or choose_column(item.keys(), column, where)
            if name not in item:
                raise PromptError(f"{where}, {place}: no key {name!r}; it has: {', '.join(map(str, item)) or 'none'}")
            item = item[name]
        if not isinstance(item, str):
            raise PromptError(f"{where}, {place}: expected a prompt, found {reprlib.repr(item)}")
        prompts.append(item)
    return prompts


def _parquet(path: Path, column: str | None) -> list[str]:
    return parquet_column(str(path), column)


def parquet_column(path: str, column: str | None, filesystem: Any = None) -> list[str]:
    """One column of one Parquet file; nothing else of it is read (or downloaded, on a remote file system).

    A row may hold a text (as a string or in UTF-8), nothing, or a list of texts, each of which is a prompt.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise PromptError("reading Parquet needs pyarrow: pip install pyarrow") from error
    try:
        name = choose_column(pq.read_schema(path, filesystem=filesystem).names, column, path)
        rows = pq.read_table(path, columns=[name], filesystem=filesystem)[name].to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        if filesystem is not None and not isinstance(error, pa.ArrowInvalid):
            raise  # the way to it, not the file
        raise PromptError(f"{path} is not a Parquet file, or a damaged one: {error}") from error
    prompts = []
    for number, row in enumerate(rows, start=1):
        for text in row if isinstance(row, list) else [row]:
            prompts.append(_as_text(text, f"{path}, column {name!r}, row {number}"))
    return prompts


def _as_text(value: Any, where: str) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise PromptError(f"{where}: bytes that are not UTF-8 text") from error
    if value is None or isinstance(value, str):
        return value or ""
    raise PromptError(f"{where}: expected a prompt, found {reprlib.repr(value)}")


def choose_column(names: Iterable[str], column: str | None, where: str) -> str:
    """``column`` if it exists, or the only plausible one when none is given."""
    names = list(names)
    if column in names:
        return str(column)
    listed = ", ".join(names) or "none"
    if column is not None:
        raise PromptError(f"{where} has no column {column!r}.{suggest(column, names)} Columns: {listed}")
    usual = []
    for name in USUAL_COLUMNS:
        if name in names:
            usual.append(name)
    if usual or len(names) == 1:
        return (usual or names)[0]
    raise PromptError(f"{where}: say which column holds the prompts (prompts.column=…). Columns: {listed}")


READERS: dict[str, Callable[[Path, str | None], list[str]]] = {
    ".txt": _text,
    ".csv": _table(",;\t|"),
    ".tsv": _table("\t,;|"),
    ".json": _json,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}

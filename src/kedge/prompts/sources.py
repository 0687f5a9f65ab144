"""Prompts out of files: text, CSV, TSV, JSON, JSONL, Parquet; and out of a hub data set's Parquet files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from kedge.registry import suggest

USUAL_COLUMNS = ("prompt", "Prompt", "caption", "text", "prompts", "TEXT")


class PromptError(ValueError):
    """Prompts that cannot be had; the message says what to do."""


def read_file(path: Path, column: str | None = None) -> list[str]:
    """Read prompts from a file, by its ending.

    Args:
        path: ``.txt`` (one a line), ``.csv``, ``.tsv``, ``.json`` (a list), ``.jsonl`` or ``.parquet``.
        column: which column, for tables; None picks one of the usual names.

    Raises:
        PromptError: for a missing file or column, or an ending that is not known.
    """
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


def _text(path: Path, column: str | None) -> list[str]:
    return path.read_text(encoding="utf-8-sig").splitlines()


def _table(delimiter: str) -> Callable[[Path, str | None], list[str]]:
    def read(path: Path, column: str | None) -> list[str]:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, delimiter=delimiter)
            name = choose_column(rows.fieldnames or (), column, str(path))
            return [row[name] or "" for row in rows]

    return read


def _json(path: Path, column: str | None) -> list[str]:
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise PromptError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(items, list):
        raise PromptError(f"{path} must hold a list of prompts or of objects, not {type(items).__name__}")
    return _objects(items, column, str(path))


def _jsonl(path: Path, column: str | None) -> list[str]:
    items = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                items.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise PromptError(f"{path}, line {number}, is not valid JSON: {error}") from error
    return _objects(items, column, str(path))


def _objects(items: Sequence[Any], column: str | None, where: str) -> list[str]:
    """Plain strings, or one key of each object."""
    prompts, name = [], None
    for number, item in enumerate(items, start=1):
        if isinstance(item, dict):
            name = name or choose_column(item.keys(), column, where)
            item = item.get(name)
        if not isinstance(item, str):
            raise PromptError(f"{where}, item {number}: expected a prompt, found {item!r}")
        prompts.append(item)
    return prompts


def _parquet(path: Path, column: str | None) -> list[str]:
    return parquet_column(str(path), column)


def parquet_column(path: str, column: str | None, filesystem: Any = None) -> list[str]:
    """One column of one Parquet file; nothing else of it is read (or downloaded, on a remote file system)."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise PromptError("reading Parquet needs pyarrow: pip install pyarrow") from error
    try:
        name = choose_column(pq.read_schema(path, filesystem=filesystem).names, column, path)
        table = pq.read_table(path, columns=[name], filesystem=filesystem)
        return [str(item or "") for item in table[name].to_pylist()]
    except pa.ArrowInvalid as error:
        raise PromptError(f"{path} is not a Parquet file: {error}") from error


def choose_column(names: Iterable[str], column: str | None, where: str) -> str:
    """``column`` if it exists, or the only plausible one when none is given."""
    names = list(names)
    if column in names:
        return str(column)
    listed = ", ".join(names) or "none"
    if column is not None:
        raise PromptError(f"{where} has no column {column!r}.{suggest(column, names)} Columns: {listed}")
    usual = [name for name in USUAL_COLUMNS if name in names]
    if usual or len(names) == 1:
        return (usual or names)[0]
    raise PromptError(f"{where}: say which column holds the prompts (prompts.column=…). Columns: {listed}")


READERS: dict[str, Callable[[Path, str | None], list[str]]] = {
    ".txt": _text,
    ".csv": _table(","),
    ".tsv": _table("\t"),
    ".json": _json,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}

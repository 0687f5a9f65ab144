"""Finished samples on disk, so that an evaluation that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from kedge.files import telling_full_disk

Row = dict[str, Any]


class PartialScores:
    """An append-only JSONL file: a header that says what is being evaluated, then one line per finished sample.

    Args:
        path: the file; None keeps everything in memory only.
        header: what makes two evaluations the same one (JSON-ready).

    Raises:
        ValueError: if the file belongs to another evaluation; the message names what differs.
        DiskFullError: if there is no room for it, here and in :meth:`add`. What was recorded before stays.
    """

    def __init__(self, path: Path | None, header: Mapping[str, Any]):
        self.path, self.rows = path, dict[int, Row]()
        if path is None:
            return
        header = json.loads(json.dumps(header))
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if not self._read(lines, header):
            path.parent.mkdir(parents=True, exist_ok=True)
            with telling_full_disk(path.parent):
                path.write_text(json.dumps(header) + "\n", encoding="utf-8")

    def _read(self, lines: list[str], header: Mapping[str, Any]) -> bool:
        """Whether there is a header, and so something to go on from."""
        parsed = []
        for line in lines:
            try:
                parsed.append(json.loads(line))
            except json.JSONDecodeError:
                break  # the line being written when the process was killed, or the disk full
        if not parsed and json.dumps(header).startswith("".join(lines)):  # nothing, or not even the whole header
            return False
        stored = parsed[0] if parsed and isinstance(parsed[0], dict) else {}
        differing = []
        for key in sorted({*stored, *header}):
            if stored.get(key) != header.get(key):
                differing.append(key)
        if differing:
            raise ValueError(
                f"{self.path} holds the beginning of another evaluation ({', '.join(differing)} differ): "
                "delete it, or give another path"
            )
        self._take(parsed[1:])
        if len(parsed) < len(lines):
            assert self.path is not None
            with self.path.open("w", encoding="utf-8") as file:
                _write(file, parsed)
        return True

    def _take(self, rows: list[Row]) -> None:
        for row in rows:
            self.rows[row["index"]] = row

    def hold(self, indices: Iterable[int]) -> bool:
        """Whether all of these samples are finished."""
        return self.rows.keys() >= set(indices)

    def add(self, rows: list[Row]) -> None:
        """Record finished samples, each with its ``index``."""
        self._take(rows)
        if self.path is not None:
            with telling_full_disk(self.path.parent), self.path.open("a", encoding="utf-8") as file:
                _write(file, rows)

    def finish(self) -> None:
        """Remove the file: the evaluation is complete and saved elsewhere."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _write(file: TextIO, rows: Iterable[Row]) -> None:
    for row in rows:
        file.write(json.dumps(row) + "\n")

"""Finished samples on disk, so that an evaluation that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Ledger:
    """An append-only JSONL file: a header that says what is being evaluated, then one line per finished sample.

    Args:
        path: the file; None keeps everything in memory only.
        header: what makes two evaluations the same one (JSON-ready).

    Raises:
        ValueError: if the file belongs to another evaluation; the message names what differs.
    """

    def __init__(self, path: Path | None, header: Mapping[str, Any]):
        self.path, self.rows = path, dict[int, Row]()
        if path is None:
            return
        header = json.loads(json.dumps(header))
        if path.exists() and (lines := path.read_text(encoding="utf-8").splitlines()):
            self._read(lines, header)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(header) + "\n", encoding="utf-8")

    def _read(self, lines: list[str], header: Mapping[str, Any]) -> None:
        parsed = []
        for line in lines:
            try:
                parsed.append(json.loads(line))
            except json.JSONDecodeError:
                break  # the line being written when the process was killed
        found = parsed[0] if parsed and isinstance(parsed[0], dict) else {}
        if differing := sorted(key for key in {*found, *header} if found.get(key) != header.get(key)):
            raise ValueError(
                f"{self.path} holds the beginning of another evaluation ({', '.join(differing)} differ): "
                "delete it, or give another path"
            )
        self.rows = {row["index"]: row for row in parsed[1:]}
        if len(parsed) < len(lines):
            text = "".join(json.dumps(item) + "\n" for item in parsed)
            assert self.path is not None
            self.path.write_text(text, encoding="utf-8")

    def __contains__(self, index: int) -> bool:
        return index in self.rows

    def add(self, rows: list[Row]) -> None:
        """Record finished samples, each with its ``index``."""
        self.rows.update({row["index"]: row for row in rows})
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)

    def finish(self) -> None:
        """Remove the file: the evaluation is complete and saved elsewhere."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

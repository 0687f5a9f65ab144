"""The log of a run, ``metrics.jsonl``: numbers by name, one JSON object for each optimizer step."""

from __future__ import annotations

import json
from pathlib import Path

Line = dict[str, float | None]


def read_log(path: Path) -> list[Line]:
    """The lines of a log, without those that are damaged or cut short; none where there is no file."""
    whole = []
    for _, line in log_lines(path):
        if line is not None:
            whole.append(line)
    return whole


def log_lines(path: Path) -> list[tuple[bytes, Line | None]]:
    """Each line that is not empty, and what it says; None for one that is no object with a number ``step``."""
    lines = []
    for text in path.read_bytes().split(b"\n") if path.exists() else ():
        if text.strip(b"\0 \r\t"):
            lines.append((text, _parsed(text)))
    return lines


def _parsed(text: bytes) -> Line | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(line, dict) and isinstance(line.get("step"), int | float)
    return line if whole else None

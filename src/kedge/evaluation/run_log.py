"""The log of a run, ``metrics.jsonl``: numbers by name, one JSON object for each optimizer step.

Names and facts say what the prompts that were measured on are to the model: training prompts are never called held-out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Line = dict[str, float | None]
Role = Literal["train", "tuning", "test", "given"]

_WORDS = {"train": "training prompts", "tuning": "held-out prompts", "test": "test prompts"}
# Logs name what was measured while training by the prompts that it was measured on: ``held_out/pickscore``.
HELD_OUT, TRAIN_PROMPTS = "held_out", "train_prompts"
_LOGGED = {HELD_OUT: "held-out prompts", TRAIN_PROMPTS: "training prompts"}


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


def is_look(line: Line) -> bool:
    """Whether something was evaluated at this step."""
    return any(key.startswith((f"{HELD_OUT}/", f"{TRAIN_PROMPTS}/")) for key in line)


def _parsed(text: bytes) -> Line | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(line, dict) and isinstance(line.get("step"), int | float)
    return line if whole else None


def finite_or_null(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """As JSON has them: it knows no infinity and no NaN, which become null."""
    plain: dict[str, float | None] = {}
    for name, value in numbers.items():
        plain[name] = value if math.isfinite(value) else None
    return plain


def words(role: str | None) -> str:
    """``training prompts``, ``held-out prompts``, ``test prompts``; just ``prompts`` where nobody knows."""
    return _WORDS.get(role or "", "prompts")


def logged(key: str) -> tuple[str, str] | None:
    """The prompts, in words, and the metric of a log's key: ``held_out/oracle`` → (held-out prompts, oracle)."""
    prefix, _, metric = key.partition("/")
    return (_LOGGED[prefix], metric) if prefix in _LOGGED and metric else None

"""Measurements that are no runs: each is written down when it is done, and a killed command goes on from there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kedge.files import read_json, write_text


def measured_once(folder: Path, work: Mapping[str, Callable[[], Mapping[str, Any]]]) -> dict[str, Any]:
    """What each of ``work`` answers, by its name; from ``folder``/NAME.json where that is there already."""
    measured = {}
    for name, measure in work.items():
        path = folder / f"{name}.json"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(measure()))
        measured[name] = read_json(path)
    return measured

"""Processes of their own that find what this one finds: Kedge's sources first, then these helpers."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).parents[1]


def environment(*folders: Path, **variables: str) -> dict[str, str]:
    """This process's environment with one thread, and ``folders`` (tests and sources) before what was on its path."""
    before = os.environ.get("PYTHONPATH")
    path = [str(folder) for folder in folders or (TESTS, TESTS.parent / "src")]
    if before:
        path.append(before)
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path), **variables}

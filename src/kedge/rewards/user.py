"""A reward of the user's own: any Python callable, by ``module:name`` or ``file.py:name``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kedge.registry import load_object


def load_callable(path: str) -> Any:
    """Import ``module:name`` (the current folder counts as on the path) or ``file.py:name``.

    Raises:
        UnknownNameError: no such module, file or name.
        ValueError: it cannot be called.
    """
    with _current_folder_on_path():
        scorer = load_object(path)
    if not callable(scorer):
        raise ValueError(f"{path!r} is not a reward: it is a {type(scorer).__name__}, which cannot be called")
    return scorer


@contextmanager
def _current_folder_on_path() -> Iterator[None]:
    """An installed command, unlike ``python -m``, does not look for modules in the current folder."""
    folder = str(Path.cwd())
    added = folder not in sys.path
    if added:
        sys.path.append(folder)  # last: a csv.py there does not take the place of Python's
    try:
        yield
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)

"""A reward of the user's own: any Python callable, by ``module:name`` or ``file.py:name``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from kedge.registry import UnknownNameError, load_object, suggest


def load_callable(path: str) -> Any:
    """Import ``module:name`` (the current folder counts as on the path) or ``file.py:name``.

    Raises:
        UnknownNameError: no such module, file or name.
        ValueError: what was found cannot be called.
    """
    place, _, name = path.rpartition(":")
    if place.endswith(".py"):
        module = _module_from_file(Path(place).expanduser())
        if not hasattr(module, name):
            raise UnknownNameError(f"{place} has no {name!r}.{suggest(name, dir(module))}")
        found = getattr(module, name)
    else:
        with _current_folder_on_path():
            found = load_object(path)
    if not callable(found):
        raise ValueError(f"{path!r} is not a reward: it is a {type(found).__name__}, which cannot be called")
    return found


def _module_from_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise UnknownNameError(f"no such file: {file} (a reward of your own is written file.py:name)")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def _current_folder_on_path() -> Iterator[None]:
    """An installed command, unlike ``python -m``, does not look for modules in the current folder."""
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)

"""Names to objects, loaded on first use, with a helpful word when the name is wrong."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from kedge.user_code import UserCodeError, calling

KEPT = "(Of a run that is there, its folder code/ holds a copy: put it where it is looked for)"


class UnknownNameError(ValueError):
    """A name that is not registered; the message lists the choices and the nearest one."""


def suggest(name: str, choices: Iterable[str]) -> str:
    """`` Did you mean 'x'?``, or an empty string when nothing is near; capitals do not matter."""
    spelt = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower(), list(spelt), n=1, cutoff=0.6)
    return f" Did you mean {spelt[near[0]]!r}?" if near else ""


def listed(words: Iterable[str], last: str = "or") -> str:
    """``a, b or c``."""
    *most, final = list(words) or [""]
    return f"{', '.join(most)} {last} {final}" if most else final


def load_object(path: str) -> Any:
    """Import ``module:Object`` or ``file.py:Object``.

    Raises:
        UnknownNameError: naming the part (module, file or object) that could not be found.
    """
    place, _, attribute = path.rpartition(":")
    module = load_file(Path(place).expanduser(), path) if place.endswith(".py") else _import(place, path)
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        hint = suggest(attribute, dir(module))
        if place == "__main__":
            hint += " It was in the notebook that named it: what other programs are to find stands in a file"
        raise UnknownNameError(f"{place!r} has no {attribute!r}.{hint}") from error


def _import(name: str, path: str) -> ModuleType:
    if name.startswith("kedge"):  # ours, and packages beside it: their faults are no user's
        return importlib.import_module(name)
    try:
        with calling(path):
            return importlib.import_module(name)
    except UserCodeError as failed:
        error = failed.__cause__
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if not missing or not name.startswith(missing):
            raise  # the user's module exists, but fails, or something that it imports does not exist
        raise UnknownNameError(
            f"cannot import {name!r} (from {path!r}): no such module on the path: looked in "
            f"{Path.cwd()} and among installed packages. A file is named by its path: folder/file.py:name. {KEPT}"
        ) from error


_FILES: dict[tuple[Path, int], ModuleType] = {}
loading: list[Path] = []  # files that are being run right now to find a name in them


def load_file(file: Path, path: str) -> ModuleType:
    """A Python file as a module: the script that runs, if it is that one; else run once, and again when it changed.

    Args:
        path: what named it, for messages.

    Raises:
        UnknownNameError: there is no such file.
    """
    if not file.is_file():
        raise UnknownNameError(f"no such file: {file} (from {path!r}: one's own is written file.py:name). {KEPT}")
    file = file.resolve()
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script and Path(script).resolve() == file:
        return sys.modules["__main__"]
    key = file, file.stat().st_mtime_ns
    if key not in _FILES:
        spec = importlib.util.spec_from_file_location(f"{file.stem}@{len(_FILES)}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module.__name__] = module  # dataclasses look for the names in their annotations there
        loading.append(file)
        try:
            with calling(path):
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module.__name__]
            raise
        finally:
            loading.pop()
        _FILES[key] = module
    return _FILES[key]


def object_path(value: Any) -> str | None:
    """``module:name`` or ``file.py:name`` of a function or class, by which :func:`load_object` finds it again.

    None for what has no such name: a lambda, a method, something inside a function.
    """
    name = getattr(value, "__qualname__", None)
    if not isinstance(name, str) or not name.isidentifier():
        return None
    module = sys.modules.get(value.__module__)
    file = getattr(module, "__file__", None)
    if file and ("@" in value.__module__ or value.__module__ == "__main__"):
        return f"{Path(file).resolve()}:{name}"
    return f"{value.__module__}:{name}"


class Registry:
    """A mapping from short names to ``module:Object`` paths; users may give such a path directly.

    Args:
        kind: what is registered, for messages ("reward", "algorithm", …).
        entries: name → ``module:Object``.
        aliases: other name → name.
        own: whether users may give a ``module:Object`` of their own.
    """

    def __init__(self, kind: str, entries: dict[str, str], aliases: dict[str, str] | None = None, own: bool = True):
        self.own = own
        self.kind, self._entries, self._aliases = kind, dict(entries), dict(aliases or {})

    def register(self, name: str, path: str) -> None:
        """Add one plug-in; a taken name is an error, so that no plug-in silently replaces another."""
        if name in self._entries or name in self._aliases:
            raise ValueError(f"{self.kind} {name!r} is already registered")
        self._entries[name] = path

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._aliases

    def resolve(self, name: str) -> str:
        """The canonical name (aliases followed); ``module:Object`` passes through.

        Raises:
            UnknownNameError: listing the choices.
        """
        name = self._aliases.get(name, name)
        if name in self._entries or ":" in name:
            return name
        choices = sorted(self._entries)
        hint = suggest(name, [*choices, *self._aliases])
        own = ", or module:Object" if self.own else ""
        raise UnknownNameError(f"unknown {self.kind} {name!r}.{hint} Choose from: {', '.join(choices)}{own}")

    def get(self, name: str) -> Any:
        """The object behind ``name``, imported now."""
        name = self.resolve(name)
        return load_object(self._entries.get(name, name))

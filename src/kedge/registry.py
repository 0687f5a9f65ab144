"""Names to objects, loaded on first use, with a helpful word when the name is wrong."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Iterator
from typing import Any


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
    """Import ``module:Object``.

    Raises:
        UnknownNameError: naming the part (module or object) that could not be found.
    """
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not module_name.startswith(error.name):
            raise  # the user's module exists, but something that it imports does not
        raise UnknownNameError(f"cannot import {module_name!r} (from {path!r}): no such module on the path") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        hint = suggest(attribute, dir(module))
        raise UnknownNameError(f"{module_name!r} has no {attribute!r}.{hint}") from error


class Registry:
    """A mapping from short names to ``module:Object`` paths; users may give such a path directly.

    Args:
        kind: what is registered, for messages ("reward", "algorithm", …).
        entries: name → ``module:Object``.
        aliases: other name → name.
    """

    def __init__(self, kind: str, entries: dict[str, str], aliases: dict[str, str] | None = None):
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
        raise UnknownNameError(
            f"unknown {self.kind} {name!r}.{hint} Choose from: {', '.join(choices)}, or module:Object"
        )

    def get(self, name: str) -> Any:
        """The object behind ``name``, imported now."""
        name = self.resolve(name)
        return load_object(self._entries.get(name, name))

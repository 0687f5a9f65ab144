"""The fields of a dataclass as users see them: names, types, defaults and the words that describe them."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args, get_type_hints

_ENTRY = re.compile(r"^(\w+(?:, \w+)*): (.*)$")


@dataclass(frozen=True)
class More:
    """In the annotation of a field: a sentence that follows its words, made when they are read."""

    sentence: Callable[[], str]


def described(cls: type) -> dict[str, str]:
    """Field → words, from the ``Attributes:`` (or ``Args:``) sections of the class and of those it extends."""
    words: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        words |= _described(inspect.cleandoc(vars(base).get("__doc__") or ""))
    for name, hint in get_type_hints(cls, include_extras=True).items():
        for note in getattr(hint, "__metadata__", ()):
            if isinstance(note, More):
                words[name] = f"{words[name]} {note.sentence()}"
    return words


def _described(doc: str) -> dict[str, str]:
    words: dict[str, str] = {}
    names: list[str] = []
    inside, margin = False, 0
    for line in doc.splitlines():
        text, depth = line.strip(), len(line) - len(line.lstrip())
        if depth == 0 and text:
            inside, margin = text in ("Attributes:", "Args:"), 0
            continue
        if not inside or not text:
            continue
        margin = margin or depth
        entry = _ENTRY.match(text) if depth == margin else None
        if entry:
            names = entry[1].split(", ")
            words.update(dict.fromkeys(names, entry[2]))
        else:
            for name in names:
                words[name] += f" {text}"
    return words


def config_fields(cls: type) -> list[dataclasses.Field[Any]]:
    """The fields that a config may set."""
    keys = []
    for field in dataclasses.fields(cls):
        if field.init:
            keys.append(field)
    return keys


@lru_cache(maxsize=256)
def hints(cls: type) -> dict[str, Any]:
    """Field → type, without what annotations add."""
    return get_type_hints(cls)


def block(cls: type, name: str) -> type | None:
    """The dataclass behind field ``name`` (also when it may be null), or None for a plain value."""
    hint = hints(cls)[name]
    for choice in (hint, *get_args(hint)):
        if isinstance(choice, type) and dataclasses.is_dataclass(choice):
            return choice
    return None


def default(field: dataclasses.Field[Any]) -> Any:
    """The default value, or ``dataclasses.MISSING``."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default

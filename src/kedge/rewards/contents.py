"""What decides a reward's scores besides its name: the weights that it loads, or the file that its code stands in.

Caches and resumed runs ask for it, so that a reward that was fitted anew or edited does not pass for the one before.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kedge.hashing import file_hash, place_hash, text_hash
from kedge.rewards.catalogue import REWARDS, find
from kedge.rewards.expression import Term, parse
from kedge.rewards.sources import locate_here
from kedge.rewards.user import load_callable


def reward_contents(text: str) -> str:
    """A hash, in hexadecimal, of a reward or weighted sum of them as it is on this machine now.

    What a server answers with, and what a file of the user's own imports, is not in it.

    Raises:
        ValueError: the text cannot be read, or a name is unknown.
    """
    lines: list[str] = []
    for term in parse(text):
        lines += [f"{term.weight:g} {term.text}", *_of_term(term)]
    return text_hash(lines)


def _of_term(term: Term) -> Iterator[str]:
    if term.name not in REWARDS and ":" in term.name:
        if file := source_file(load_callable(term.name)):
            yield file_hash(file)
        if term.source and Path(term.source).exists():
            yield place_hash(Path(term.source))
        return
    for key, path in locate_here(find(term.name), term.source).items():
        yield f"{key} {place_hash(path)}"


def source_file(value: Any) -> Path | None:
    """The file that a function, class or instance was written in; None for what has none."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(value) if inspect.isroutine(value) else value)
    except TypeError:
        return source_file(type(value)) if not inspect.isclass(value) else None
    return Path(file) if file and Path(file).is_file() else None

"""One entry for every place that prompts come from."""

from __future__ import annotations

import logging
import random
import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kedge.prompts.hub import hub_column
from kedge.prompts.named import NAMED
from kedge.prompts.report import inspect_prompts
from kedge.prompts.sources import READERS, PromptError, read_file
from kedge.registry import load_object, suggest
from kedge.user_code import calling

log = logging.getLogger(__name__)


def load_prompts(
    source: str | Sequence[str],
    *,
    column: str | None = None,
    split: str = "train",
    count: int | None = None,
    seed: int = 0,
    local: str | None = None,
) -> list[str]:
    """Prompts from a named set, a file or a hub data set; problems with them are logged as warnings.

    Args:
        source: a name in :data:`NAMED`, a path, a hub id ``owner/name``, ``module:function`` that returns them, or the
            prompts themselves in a list.
        column: which column of a table.
        split: which split of a hub data set.
        count: draw this many at random; None takes all in their order.
        seed: of that draw.
        local: a local copy of a named set, read instead of the hub.

    Raises:
        PromptError: saying what is missing and what to give instead.
    """
    name = local or (source if isinstance(source, str) else "the list")
    stripped = list(map(str.strip, _raw(source, column, split, local)))
    check_texts(stripped, name)
    for line in inspect_prompts(stripped).lines():
        log.warning("prompts of %s: %s", name, line)
    prompts = list(filter(None, stripped))
    if not prompts:
        raise PromptError(f"{name} holds no prompts")
    if count is None or count == len(prompts):
        return prompts
    if count > len(prompts):
        raise PromptError(f"count is {count}, but {name} has only {len(prompts)}")
    return random.Random(seed).sample(prompts, count)


def check_texts(prompts: Sequence[str], where: str) -> None:
    """Refuse texts that no tokenizer reads: halves of characters, which broken programs write.

    Raises:
        PromptError: naming the first of them.
    """
    for number, prompt in enumerate(prompts, start=1):
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            text = prompt.encode(errors="backslashreplace").decode()
            raise PromptError(f"{where}, prompt {number}: {text!r} holds half a character, which is no text") from error


def _raw(source: str | Sequence[str], column: str | None, split: str, local: str | None) -> list[str]:
    if local is not None:
        return read_file(Path(local).expanduser(), column)
    if not isinstance(source, str):
        return list(source)
    if source in NAMED:
        return _named(source)
    if re.fullmatch(r"([\w.]+|.*\.py):\w+", source):
        return _called(source)
    path = Path(source).expanduser()
    if path.exists() or path.suffix.lower() in READERS:
        return read_file(path, column)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        return hub_column(source, column, split)
    raise PromptError(
        f"no prompts called {source!r}.{suggest(source, NAMED)} Give a file, a hub data set (owner/name), "
        f"module:function or one of: {', '.join(NAMED)}"
    )


def _called(path: str) -> list[str]:
    """The prompts that a function of the user's own returns."""
    function = load_object(path)
    with calling(f"prompts {path!r}"):
        returned = function()
        prompts: list[Any] = [returned] if isinstance(returned, str) or returned is None else list(returned)
    if prompts == [returned]:
        raise PromptError(f"{path} must return prompts: a list of strings, not {reprlib.repr(returned)}")
    for number, prompt in enumerate(prompts, start=1):
        if not isinstance(prompt, str):
            item = f"{type(prompt).__name__} (item {number}: {reprlib.repr(prompt)})"
            raise PromptError(f"{path} must return prompts: strings, not {item}")
    return prompts


def _named(name: str) -> list[str]:
    try:
        return NAMED[name].load()
    except PromptError as error:
        raise type(error)(f"{name}: {error} ({NAMED[name].local})") from error

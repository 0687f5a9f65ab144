"""Booleans where a recipe takes numbers: YAML reads ``yes`` and ``on`` as true, and pydantic takes true as 1."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from kedge.config import fields


def booleans_for_numbers(value: Any, hint: Any, path: str) -> Iterator[str]:
    """``training.seed: should be a whole number (got True)`` for each boolean in ``value`` that is to be a number.

    Args:
        hint: the type that ``value`` is to have, without annotations: a block, a number, a tuple, or one of several.
        path: the keys that lead to it.
    """
    choices = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if isinstance(value, bool):
        if bool not in choices and (int in choices or float in choices):
            yield f"{path}: should be a {'' if float in choices else 'whole '}number (got {value})"
    elif isinstance(value, Mapping):
        for choice in filter(dataclasses.is_dataclass, choices):
            yield from _in_block(value, choice, path)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from booleans_for_numbers(item, _of_items(choices), path)


def _of_items(choices: tuple[Any, ...]) -> Any:
    """The type of what stands in a tuple or list, if one of the choices is one."""
    parts: list[Any] = [None]
    for choice in choices:
        if get_origin(choice) in (tuple, list):
            parts.extend(get_args(choice))
    parts = [part for part in parts if part is not Ellipsis]
    return Union[tuple(parts)]  # noqa: UP007


def _in_block(values: Mapping[str, Any], cls: Any, path: str) -> Iterator[str]:
    hints = fields.hints(cls)
    for key, value in values.items():
        if key in hints:
            yield from booleans_for_numbers(value, hints[key], f"{path}.{key}")

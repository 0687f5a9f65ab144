"""Keywords of Python as the ``key=value`` of the command: ``optimizer={"lr": 3e-4}`` is ``optimizer.lr=0.0003``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kedge.config import ConfigError
from kedge.registry import object_path
from kedge.rewards.expression import Term

# Blocks whose other keys belong to what this key names: with it, the block starts anew (a model keeps how it is used).
NAMED_BY = {"model": "name", "algorithm": "name", "prompts": "source", "watch.held_out": "source"}
REWARDS_AT = ("reward", "watch.metrics")


def overrides_from(changes: Mapping[str, Any]) -> list[str]:
    """``key=value`` for each keyword; blocks may be mappings or dataclasses, and hold functions and classes.

    Raises:
        ConfigError: for a value that YAML cannot write, or a function that cannot be found again by its name.
    """
    return [f"{key}={json.dumps(value)}" for key, value in _leaves("", changes)]


def _leaves(prefix: str, block: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Dotted key and plain value of everything below ``block``, names of blocks first."""
    named_by = NAMED_BY.get(prefix)
    if named_by and named_by in block:
        yield prefix, plain(block[named_by], prefix)
    for key, value in block.items():
        path = f"{prefix}.{key}" if prefix else key
        if key == named_by:
            continue
        if path == "algorithm" and dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = {"name": algorithm_name(type(value)), **_fields(value)}
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = _fields(value)
        if isinstance(value, Mapping):
            yield from _leaves(path, value)
        else:
            yield path, plain(value, path)


def _fields(value: Any) -> dict[str, Any]:
    values = {}
    for field in dataclasses.fields(value):
        if field.init:
            values[field.name] = getattr(value, field.name)
    return values


def algorithm_name(cls: type) -> str:
    """``rocm`` for :class:`kedge.ROCM`; ``module:Class`` for one's own."""
    from kedge.algorithms import ALGORITHMS

    for name in ALGORITHMS:
        if ALGORITHMS.get(name) is cls:
            return name
    return own_path(cls, "algorithm")


def plain(value: Any, key: str) -> Any:
    """A value as YAML knows it: paths as text, functions and classes as ``module:name``."""
    if isinstance(value, tuple | list):
        return [plain(item, key) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if key == "algorithm" and isinstance(value, type):
        return algorithm_name(value)
    if callable(value):
        path = own_path(value, key)
        return Term(1.0, path).text if key in REWARDS_AT else path
    raise ConfigError(f"{key} takes text, numbers, lists, functions or a block, not {type(value).__name__} {value!r}")


def own_path(value: Any, key: str) -> str:
    """``module:name`` or ``file.py:name`` of a function or class, as run folders remember it.

    Raises:
        ConfigError: if it cannot be found by such a name: a lambda, a method, something inside a function.
    """
    path = object_path(value)
    if path is None:
        name = getattr(value, "__qualname__", type(value).__qualname__)
        raise ConfigError(
            f"{key}: the run folder remembers {name!r} by its name, so it must be a function or class at the top of a "
            "module or script"
        )
    return path

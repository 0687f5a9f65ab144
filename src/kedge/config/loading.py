"""From YAML and overrides to a checked :class:`RunConfig`, and back."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from kedge.config import fields
from kedge.config.booleans import booleans_for_numbers
from kedge.config.compatibility import check
from kedge.config.keys import algorithms_with, nearest_key
from kedge.config.recipe_path import recipe_path
from kedge.config.renamed import renamed
from kedge.config.resolution import complete, resolve_kind
from kedge.config.schema import AlgorithmChoice, ModelConfig, RunConfig
from kedge.config.text import (
    SHORT,
    ConfigError,
    OverrideError,
    adapter,
    apply_overrides,
    in_words,
    read_recipe_text,
    read_yaml,
)
from kedge.rewards.expression import with_floors

__all__ = ["ConfigError", "dump", "load_config", "parse_config", "parse_model"]

log = logging.getLogger(__name__)
BUILDING_ON = ("from", "extends", "include", "preset")  # how other programs' files name the file that they change


def load_config(recipe: str | Path, overrides: Iterable[str] = (), *, to_train: bool = True) -> RunConfig:
    """Read a recipe, apply ``key=value`` overrides, check everything that can be checked without loading weights.

    Args:
        recipe: a preset's name, a YAML file, or a run folder.
        to_train: look for rewards, too. Who only draws with a run does without those of its owner's that are not here.

    Raises:
        ConfigError: naming the file, the key and what to write instead.
        OverrideError: where the file is right, and one of ``overrides`` is not.
    """
    path, overrides = recipe_path(recipe), list(overrides)
    if not path.is_file():
        raise ConfigError(f"no recipe at {path} (`kedge presets` lists those that ship)")
    data = read_yaml(read_recipe_text(path), str(path))
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no configuration: expected blocks such as 'model:' and 'reward:'")
    try:
        changed = apply_overrides(data, overrides)
        config = parse_config(changed, to_train=to_train)
    except ConfigError as error:
        raise blamed(error, data, overrides, str(path)) from error
    if "model" not in changed:
        log.warning(
            "%s names no model, so the bundled %s is trained: model=NAME chooses another", path, config.model.name
        )
    return config


def blamed(error: ConfigError, data: dict[str, Any], overrides: Sequence[str], where: str) -> ConfigError:
    """``error`` with where it comes from: ``where``, the recipe's own place, or the override without which it is not.

    Overrides are tried one after another, in the order in which they were written.
    """
    for count in range(len(overrides) + 1):
        try:
            parse_config(apply_overrides(data, overrides[:count]))
        except ConfigError as earlier:
            if str(earlier) == str(error):
                return OverrideError(overrides[count - 1], str(error)) if count else ConfigError(f"{where}: {error}")
    return ConfigError(f"{where}: {error}")


def parse_config(data: Mapping[str, Any], *, to_train: bool = True) -> RunConfig:
    """Check a plain mapping and build the config; ``to_train`` as for :func:`load_config`."""
    values = {"algorithm": "rocm", **data}
    algorithm = _algorithm(values.pop("algorithm"))
    if "reward" in values:
        values["reward"] = _reward(values["reward"])
    _check_keys(values, RunConfig, "", skip=("algorithm",))
    values = _expand_all(values, RunConfig)
    built = {}
    for field in fields.config_fields(RunConfig):
        if field.name in values:
            built[field.name] = _build(values[field.name], fields.block(RunConfig, field.name) or str, field.name)
    built["model"] = complete(resolve_kind(built.get("model", ModelConfig())), values.get("model", {}))
    config = RunConfig(algorithm=algorithm, **built)
    if to_train:
        check(config)
    return config


def _reward(value: Any) -> Any:
    """A block with floors as the text that it stands for."""
    try:
        return with_floors(value)
    except ValueError as error:
        raise ConfigError(f"reward: {error}") from error


def parse_model(data: Mapping[str, Any], overrides: Iterable[str] = ()) -> ModelConfig:
    """A ``model`` block alone; ``overrides`` are ``key=value`` with its keys.

    Raises:
        ConfigError: naming the key and what to write instead.
    """
    block = apply_overrides({"model": dict(data)}, [f"model.{text}" for text in overrides])["model"]
    _check_keys(block, ModelConfig, "model")
    block = _expand_all(block, ModelConfig)
    return complete(resolve_kind(_build(block, ModelConfig, "model")), block)


def dump(config: RunConfig) -> str:
    """The whole config as YAML; :func:`parse_config` of it gives an equal config."""
    data = {field.name: plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)


def plain(value: Any) -> Any:
    """Dataclasses and tuples as the dicts and lists that YAML knows."""
    if isinstance(value, AlgorithmChoice):
        return {"name": value.name, **plain(value.instance)}
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields.config_fields(type(value))}
    if isinstance(value, tuple | list):
        return list(map(plain, value))
    return value


def _algorithm(value: Any) -> AlgorithmChoice:
    """``rocm``, or ``{name: rocm, beta: …}``, as the algorithm's own dataclass."""
    from kedge.algorithms import ALGORITHMS
    from kedge.registry import UnknownNameError

    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict):
        raise ConfigError(f"algorithm must be a name or a block with a name, not {value!r}")
    value = dict(value)
    name = value.pop("name", None) or value.pop(SHORT, None)
    value.pop(SHORT, None)
    if not isinstance(name, str):
        raise ConfigError("algorithm.name is missing: write for example algorithm.name=rocm")
    try:
        cls = ALGORITHMS.get(name)
    except UnknownNameError as error:
        raise ConfigError(f"algorithm.name: {error}{_other_kind(name)}") from error
    _check_keys(value, cls, "algorithm", also=("name",), whose=f" of {name}")
    _check_blocks(value, cls, "algorithm")
    return AlgorithmChoice(name, _build(value, cls, "algorithm"))


def _other_kind(name: str) -> str:
    """What to write where the name of a divergence or a reward was given for an algorithm."""
    from kedge.algorithms.rocm import ROCM
    from kedge.rewards import REWARDS

    if name in REWARDS:
        return f". {name!r} is a reward: reward={name}"
    try:
        ROCM(divergence=name)
    except ValueError:
        return ""
    return f". {name!r} is a divergence: algorithm=rocm algorithm.divergence={name}"


def _expand(value: Any, cls: type, name: str) -> Any:
    """``prompts: animals-45`` is short for ``prompts: {source: animals-45}``: a block's first key."""
    inner = fields.block(cls, name)
    if inner is None or value is None:
        return value
    first = fields.config_fields(inner)[0].name
    if not isinstance(value, dict):
        return {first: value}
    named = {}
    for key, item in value.items():
        named[first if key == SHORT else key] = item
    return _expand_all(named, inner)


def _expand_all(values: Mapping[str, Any], cls: type) -> dict[str, Any]:
    return {name: _expand(value, cls, name) for name, value in values.items()}


def _check_keys(
    data: Mapping[Any, Any],
    cls: type,
    path: str,
    *,
    also: tuple[str, ...] = (),
    skip: tuple[str, ...] = (),
    whose: str = "",
) -> None:
    """Refuse unknown keys, with the full dotted path and the nearest right key."""
    known = []
    for field in fields.config_fields(cls):
        if field.name not in skip:
            known.append(field.name)
    for key, value in data.items():
        full = f"{path}.{key}" if path else str(key)
        if key not in known and key != SHORT:
            hint = _hint(str(key), full, [*known, *also, *skip])
            choices = ", ".join(sorted([*known, *also, *skip])) or "none"
            raise ConfigError(renamed(full) or f"unknown key {full!r}{whose}.{hint} Keys here: {choices}")
        if isinstance(value, dict) and key != SHORT:
            inner = fields.block(cls, key)
            if inner is None:
                raise ConfigError(f"{full} takes a single value, not a block")
            _check_keys(value, inner, full)


def _hint(key: str, full: str, block: list[str]) -> str:
    """What to write instead of an unknown key; empty where nobody knows."""
    if full in BUILDING_ON:
        return (
            f" A recipe has no {key!r}: kedge init PRESET > my.yaml writes one out to change, or give changes on the "
            "command line: kedge train PRESET KEY=VALUE."
        )
    name, colon, value = key.partition(":")
    if colon and name in block:
        return f" A space goes behind the colon: {name}: {value}."
    meant = nearest_key(key, block)
    if meant == full:  # as it is, of other algorithms
        return f" It is one of {', '.join(algorithms_with(key))}."
    return f" Did you mean {meant!r}?" if meant else ""


def _check_blocks(values: Mapping[str, Any], cls: type, path: str) -> None:
    """Refuse a single value where a block is taken that is not known by its first key alone."""
    for key, value in values.items():
        inner = fields.block(cls, key)
        if inner is None or value is None or isinstance(value, dict | inner):
            continue
        keys = [field.name for field in fields.config_fields(inner)]
        example = f"{path}.{key}={{{keys[0]}: {value}}}"
        raise ConfigError(f"{path}.{key} takes a block of {' or '.join(keys)}, not {value!r}: {example}")


def _build(value: Any, cls: type, path: str) -> Any:
    if wrong := list(booleans_for_numbers(value, cls, path)):
        raise ConfigError("; ".join(wrong))
    try:
        return adapter(cls).validate_python(value)
    except ValidationError as error:
        raise ConfigError(in_words(error, path)) from error

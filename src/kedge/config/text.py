"""YAML as people write it: 1e-4 is a number, and ``key=value`` reaches into blocks."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot run; the message names the key and what to write instead."""


class OverrideError(ConfigError):
    """A change to a recipe (``key=value``) that cannot be made, where the recipe itself is right.

    Attributes:
        override: the change as it was written.
        problem: what is wrong with it.
    """

    def __init__(self, override: str, problem: str):
        self.override, self.problem = override, problem
        super().__init__(problem if problem.startswith(repr(override)) else f"{override}: {problem}")


class _Loader(yaml.SafeLoader):
    """PyYAML follows YAML 1.1, where ``1e-4`` (no dot) is a string and ``010`` is eight; and takes a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuses a key that occurs twice in a block."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                problem = f"the key {key.value!r} occurs twice in one block"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """Decimal, also with zeros in front."""
    text = str(loader.construct_scalar(node))
    return int(text.replace("_", "")) if _INT.match(text) else int(loader.construct_yaml_int(node))


_FLOAT = re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")
_INT = re.compile(r"^[-+]?\d[\d_]*$")
_Loader.yaml_implicit_resolvers = {}
for _first, _resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items():
    _others = [each for each in _resolvers if each[0] not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:int")]
    _Loader.yaml_implicit_resolvers[_first] = _others
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


def read_recipe_text(path: Path) -> str:
    """The text of a YAML file.

    Raises:
        ConfigError: it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from error


def read_yaml(text: str, where: str) -> Any:
    """Parse YAML.

    Raises:
        ConfigError: with the place of the mistake.
    """
    try:
        value = copy.deepcopy(_parsed(text))
        endless = _contains_itself(value, ())
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML{_place(error)}") from error
    except (ValueError, RecursionError) as error:  # a date that is none, a number of thousands of digits, deep nests
        raise ConfigError(f"{where} cannot be read: {error}") from error
    if endless:
        raise ConfigError(f"{where}: a block contains itself (by a YAML alias, *name)")
    return value


@lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    """A matrix of runs reads the same recipe by the thousand, at 4 ms each."""
    return yaml.load(text, _Loader)


def _contains_itself(value: Any, inside: tuple[int, ...]) -> bool:
    """Whether a block contains itself, as ``model: &m {lora: *m}`` does."""
    if id(value) in inside:
        return True
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_contains_itself(child, (*inside, id(value))) for child in children)


def _place(error: yaml.YAMLError) -> str:
    """``, line 3, column 2: …`` with the line itself and a caret below, and what is most often wrong."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f": {error}"
    problem = getattr(error, "problem", None) or "it cannot be read"
    hint = ""
    if "block" in problem or "indent" in problem or "mapping values" in problem:
        hint = "\n(indentation: keys of one block stand exactly below one another, further in than its name)"
    if "\\t" in problem or "tab" in problem:
        hint = "\n(indentation is written with spaces, not with tabs)"
    return f", line {mark.line + 1}, column {mark.column + 1}: {problem}\n{mark.get_snippet()}{hint}"


def apply_overrides(data: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of ``data`` with ``a.b=value`` written into it; ``model=NAME`` keeps how models are used.

    Values are YAML, but for rewards, which are taken as they are written.

    Raises:
        ConfigError: for an item without ``=``, or a path through something that is not a block.
    """
    result: dict[str, Any] = _copy(data)
    for item in overrides:
        path, equals, value = item.partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"{item!r} is not key=value (for example optimizer.lr=1e-4)")
        *parents, last = path.strip().split(".")
        block = result
        for parent in parents:
            child = block.get(parent)
            # A block may be given by its name alone (algorithm: rocm); reaching into it makes it a block again.
            block[parent] = child if isinstance(child, dict) else {} if child is None else {SHORT: child}
            block = block[parent]
        content = _content(path.strip(), value.strip())
        if path.strip() == "model" and isinstance(block.get(last), dict) and isinstance(content, str):
            content = {key: item for key, item in block[last].items() if key not in OF_ONE_MODEL} | {SHORT: content}
        block[last] = content
    return result


# Rewards have a grammar of their own, in which ": " and " #" may stand. YAML are only {terms: …}, [a, b] and a text
# that is quoted as a whole, which is how Python's keywords are written.
_AS_WRITTEN = ("reward", "reward.terms", "watch.metrics")
_YAML_AFTER_ALL = re.compile(r"""[{\[].*|"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'""", re.DOTALL)


def _content(path: str, value: str) -> Any:
    """What ``value`` means at ``path``; None where it is empty."""
    if path in _AS_WRITTEN and value and not _YAML_AFTER_ALL.fullmatch(value):
        return value
    return read_yaml(value, f"the value of {path}") if value else None


# model=NAME replaces what says which model it is, and keeps how it is used: steps, size, precision, adapter. All other
# keys of an algorithm or a source of prompts are its own, and go with it.
OF_ONE_MODEL = (
    *("name", "kind", "unet", "lcm_lora", "few_step_lora", "vae", "variant"),
    *("timesteps", "prediction_type"),
)
SHORT = "*"  # stands for a block's first key when only its value was given, until the schema is known


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value


def validated(cls: type[T], data: Any, source: str | Path) -> T:
    """What a file says as a ``cls``, whose keys are all that it may have.

    Raises:
        ConfigError: naming ``source`` and each key that is wrong.
    """
    try:
        return TypeAdapter(cls).validate_python(data, extra="forbid")
    except ValidationError as error:
        raise ConfigError(f"{source}: {in_words(error)}") from error


@lru_cache(maxsize=256)
def adapter(cls: type) -> TypeAdapter[Any]:
    """A matrix of runs is made of the same blocks again and again, and pydantic reads a class in 10 ms."""
    return TypeAdapter(cls)


def in_words(error: ValidationError, *place: str) -> str:
    """``algorithm.beta: should be a valid number (got 'x')`` of everything that is wrong.

    Args:
        place: the keys that lead to what was validated.
    """
    lines = []
    for problem in error.errors(include_url=False):
        keys = [*place, *map(str, filter(_is_key, problem["loc"]))]
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
        value_got = "" if problem["type"] == "value_error" else f" (got {problem['input']!r})"
        lines.append(f"{'.'.join(keys)}: {message}{value_got}" if keys else f"{message}{value_got}")
    return "; ".join(dict.fromkeys(lines))


def _is_key(part: str | int) -> bool:
    """Not the name of a type: pydantic puts that of each branch of a union into the location."""
    text = str(part)
    types = ("str", "int", "float", "bool", "constrained-int", "constrained-float")
    return not (text in types or "[" in text or text[:1].isupper())

"""A recipe as a JSON schema, for editors: they complete keys, show what each is for, and mark what is wrong."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from kedge.config import fields
from kedge.config.schema import RunConfig

FLOORS = {  # as kedge.rewards.expression.with_floors reads it
    "type": "object",
    "properties": {
        "terms": {"type": "string"},
        "floors": {"type": "object", "additionalProperties": {"anyOf": [{"const": "base"}, {"type": "number"}]}},
    },
    "required": ["terms"],
    "additionalProperties": False,
}
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of a YAML recipe, short forms included (``model: emoji-lcm``, ``algorithm: rocm``)."""
    schema = _block(RunConfig)
    schema["properties"]["algorithm"] = _algorithm(schema["properties"]["algorithm"]["description"])
    schema["properties"]["reward"] = {
        "anyOf": [{"type": "string"}, FLOORS],
        "description": schema["properties"]["reward"]["description"],
    }
    return {"$schema": DRAFT, "title": "A recipe of kedge", **schema}


def _block(cls: type) -> dict[str, Any]:
    words, hints = fields.described(cls), get_type_hints(cls, include_extras=True)
    properties = {}
    for field in fields.config_fields(cls):
        properties[field.name] = _field(cls, field, hints[field.name]) | {"description": words.get(field.name, "")}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _field(cls: type, field: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    inner = fields.block(cls, field.name)
    if inner is not None:
        block = _block(inner)
        first = next(iter(block["properties"].values()))
        return {"anyOf": [block, {key: item for key, item in first.items() if key != "description"}, {"type": "null"}]}
    schema = TypeAdapter(hint).json_schema()
    if cls.__name__ == "WatchConfig" and field.name in ("metrics", "trackers"):
        schema = {"anyOf": [schema, {"type": "string"}]}  # comma-separated
    if cls.__name__ == "WatchConfig" and field.name == "guard":
        schema = {"anyOf": [schema, {"const": False}]}  # YAML reads off as a boolean
    default = fields.default(field)
    plain = isinstance(default, str | int | float | bool) or default is None
    return schema | ({"default": default} if plain else {})


def _algorithm(words: str) -> dict[str, Any]:
    """A name, or a block of one of the algorithms with its own hyper-parameters; or a class of your own."""
    from kedge.algorithms import ALGORITHMS

    choices: list[dict[str, Any]] = [{"enum": list(ALGORITHMS)}]
    for name in ALGORITHMS:
        block = _block(ALGORITHMS.get(name))
        block["properties"] = {"name": {"const": name}, **block["properties"]}
        choices.append({**block, "required": ["name"]})
    own = {"type": "string", "pattern": ":"}
    choices += [own, {"type": "object", "properties": {"name": own}, "required": ["name"]}]
    return {"anyOf": choices, "description": words}

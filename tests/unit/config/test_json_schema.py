"""The schema for editors: it takes every recipe that Kedge takes, and marks what Kedge refuses."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from kedge.config import document, load_config, parse_config, presets
from kedge.config.json_schema import json_schema
from kedge.config.keys import all_keys
from kedge.config.text import read_yaml

SCHEMA = json_schema()
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int}


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """What editors do, for the words of JSON schema that occur in ours."""
    if "anyOf" in schema and not any(fits(value, choice) for choice in schema["anyOf"]):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    kind = schema.get("type")
    if kind == "number" and (isinstance(value, bool) or not isinstance(value, int | float)):
        return False
    if kind in TYPES and (not isinstance(value, TYPES[kind]) or (kind == "integer" and isinstance(value, bool))):
        return False
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        return False
    if isinstance(value, int | float) and not isinstance(value, bool) and not _in_range(value, schema):
        return False
    if isinstance(value, list):
        return all(fits(item, schema.get("items", {})) for item in value)
    if isinstance(value, dict):
        known = schema.get("properties", {})
        complete = all(key in value for key in schema.get("required", ()))
        closed = schema.get("additionalProperties", True) or value.keys() <= known.keys()
        return complete and closed and all(fits(item, known.get(key, {})) for key, item in value.items())
    return True


def _in_range(value: float, schema: dict[str, Any]) -> bool:
    return (
        value >= schema.get("minimum", value)
        and value <= schema.get("maximum", value)
        and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
    )


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset.name)
def test_every_preset_fits_short_and_written_out(preset):
    assert fits(read_yaml(preset.path.read_text(), "x"), SCHEMA)
    assert fits(read_yaml(document(load_config(preset.path)), "x"), SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "optimizer: {learning_rate: 1}",
        "optimizer: {lr: fast}",
        "optimizer: {lr: 0}",
        "training: {steps: -5}",
        "training: {steps: 1.5}",
        "watch: {guard: panic}",
        "algorithm: {name: rocm, clip_range: 1}",
        "algorithm: ddqo",
        "modle: emoji-lcm",
        "model: {lora: {rank: 0}}",
        "reward: {floors: {clipscore: base}}",
        "reward: {terms: hpsv2, flors: {clipscore: base}}",
    ],
)
def test_what_kedge_refuses_is_marked(text):
    assert not fits(yaml.safe_load(text), SCHEMA)
    with pytest.raises(ValueError):  # noqa: PT011 - the messages have their own tests
        parse_config({"model": "emoji-lcm", **yaml.safe_load(text)})


@pytest.mark.parametrize(
    "text",
    [
        "algorithm: my:Own",
        "algorithm: {name: my:Own, speed: 3}",
        "watch: {metrics: 'a,b'}",
        "reward: {terms: hpsv2, floors: {clipscore: base, aesthetic: 5.5}}",
    ],
)
def test_ones_own_and_short_forms_fit(text):
    assert fits(yaml.safe_load(text), SCHEMA)


def test_every_key_is_there_with_its_words():
    for key in all_keys():
        block = SCHEMA
        for part in key.split("."):
            block = next((choice for choice in block.get("anyOf", ()) if "properties" in choice), block)
            block = block["properties"][part]
        assert block["description"], key
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA

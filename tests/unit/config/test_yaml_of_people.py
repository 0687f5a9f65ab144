"""YAML as people write and break it: each mistake ends in one message with the file or the key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pytest

from helpers.training_world import recipe
from kedge.config import ConfigError, load_config, parse_config
from kedge.config.booleans import booleans_for_numbers
from kedge.config.text import apply_overrides, read_yaml


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("training: {steps: 5, steps: 7}", "the key 'steps' occurs twice"),
        ("training: {steps: 5}\nreward: a\ntraining: {seed: 1}", "the key 'training' occurs twice"),
        ("model: &m {lora: *m}", "a block contains itself"),
        ("x: " + "[" * 3000, "cannot be read|not valid YAML"),
        ("training: {steps: !!int abc}", "cannot be read"),
        ("training: {steps: !!float abc}", "cannot be read"),
        ("training: {steps: 2001-99-99}", "cannot be read"),
        ("training: {steps: " + "9" * 5000 + "}", "cannot be read"),
    ],
)
def test_what_yaml_takes_silently_or_drops_is_refused_with_the_files_name(tmp_path: Path, text: str, says: str):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"my\.yaml.*({says})"):
        load_config(path)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings_are_named(tmp_path: Path, encoding: str):
    path = tmp_path / "my.yaml"
    path.write_text("reward: é", encoding=encoding)
    with pytest.raises(ConfigError, match=r"my\.yaml is not UTF-8 text"):
        load_config(path)


def test_zeros_in_front_are_zeros_and_merge_keys_merge():
    assert read_yaml("[010, 08, -007, 1_000]", "x") == [10, 8, -7, 1000]
    assert apply_overrides({}, ["training.seed=08"]) == {"training": {"seed": 8}}
    assert read_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}", "x")["b"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("optimizer__lr", float("inf"), "optimizer.lr must be a finite number, not inf"),
        ("model__guidance", float("nan"), "model.guidance must be a finite number, not nan"),
        (
            "algorithm",
            {"name": "helpers.training_world:Climb", "beta": float("inf")},
            "algorithm.beta must be a finite",
        ),
        ("training__seed", 10**23, r"training\.seed: .*less than"),
        ("watch__seed", -1, r"watch\.seed: .*greater than or equal to 0"),
    ],
)
def test_numbers_that_end_as_no_gradient_are_refused_before_anything_loads(key, value, says):
    with pytest.raises(ConfigError, match=says):
        parse_config(recipe(**{key: value}))


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("watch.evaluate_every=yes", "watch.evaluate_every: should be a whole number (got True)"),
        ("training.seed=true", "training.seed: should be a whole number (got True)"),
        ("optimizer.lr=on", "optimizer.lr: should be a number (got True)"),
        ("optimizer.betas=[off, 0.9]", "optimizer.betas: should be a number (got False)"),
        ("model.guidance=no", "model.guidance: should be a number (got False)"),
        ("model.size=[512, true]", "model.size: should be a whole number (got True)"),
        ("model.size=[[512, 512], [640, on]]", "model.size: should be a whole number (got True)"),
        ("model.lora.rank=on", "model.lora.rank: should be a whole number (got True)"),
        ("memory={vae_tile: yes}", "memory.vae_tile: should be a whole number (got True)"),
        ("watch.held_out={source: emoji, count: yes}", "watch.held_out.count: should be a whole number (got True)"),
        ("algorithm={name: 'helpers.training_world:Climb', beta: on}", "algorithm.beta: should be a number (got True)"),
        ("training={seed: on, steps: on}", "training.seed: should be a whole number (got True); training.steps: sh"),
    ],
)
def test_a_boolean_is_no_number(override, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        parse_config(apply_overrides(recipe(), [override]))


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ("0", "a picture is at least one pixel high and wide, not 0"),
        ("[[512, 512], [640, -1]]", "a picture is at least one pixel high and wide, not -1"),
        ("[512, wide]", "a size is its side in pixels, or [height, width], or several such pairs, not 'wide'"),
        ("1.5", "a size is its side in pixels, or [height, width], or several such pairs, not 1.5"),
    ],
)
def test_a_size_is_made_of_whole_sides(size: str, says: str) -> None:
    """Of all ways to write one, the error is about the one that was meant."""
    with pytest.raises(ConfigError) as refused:
        parse_config(apply_overrides(recipe(), [f"model.size={size}"]))
    assert str(refused.value) == f"model.size: {says}"


def test_booleans_stay_where_they_are_taken():
    settings = ["memory.vae_slicing=yes", "prompts.shuffle=off", "watch.guard=off", "backprop.checkpoint=on"]
    config = parse_config(apply_overrides(recipe(), settings))
    assert (config.memory.vae_slicing, config.prompts.shuffle, config.watch.guard) == (True, False, "off")
    assert config.backprop.checkpoint
    for hint in (bool | int, bool | float | None, Any, str, tuple[bool, ...], Literal[1, 2]):
        assert list(booleans_for_numbers(True, hint, "key")) == []
        assert list(booleans_for_numbers([True], hint, "key")) == []

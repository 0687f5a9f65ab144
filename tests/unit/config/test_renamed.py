"""A renamed key is answered with its new name, and no line of the table outlives its release."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from typer.testing import CliRunner

from kedge import __version__
from kedge.algorithms import ALGORITHMS
from kedge.cli.app import app
from kedge.config import ConfigError, RunConfig, fields, load_config, parse_config, parse_model, preset
from kedge.config import renamed as module
from kedge.config.renamed import RENAMED, Renamed


@pytest.fixture
def table(monkeypatch):
    """As if these had been renamed."""
    entries = (
        Renamed("thrift.tile", "memory.vae_tile", "0.2"),
        Renamed("thrift.slices", "memory.vae_slicing", "0.2"),
        Renamed("watch.every", "watch.evaluate_every", "0.2"),
        Renamed("algorithm.kl_weight", "algorithm.beta", "0.2"),
        Renamed("model.base", "model.name", "0.2"),
    )
    monkeypatch.setattr(module, "RENAMED", entries)


@pytest.mark.parametrize(
    ("override", "old", "new"),
    [
        ("watch.every=5", "'watch.every'", "'watch.evaluate_every'"),
        ("algorithm.kl_weight=1", "'algorithm.kl_weight'", "'algorithm.beta'"),
        ("model.base=x", "'model.base'", "'model.name'"),
        ("thrift.tile=64", "'thrift.tile'", "'memory.vae_tile'"),  # the block itself is gone
    ],
)
def test_an_old_key_is_answered_with_the_new_one(table, override, old, new):
    with pytest.raises(ConfigError) as error:
        load_config(preset("emoji-rocm").path, [override])
    assert f"{old} is called {new} since version 0.2: write that instead" in str(error.value)
    assert "unknown key" not in str(error.value)


def test_the_keys_of_a_block_that_is_gone_are_all_named(table):
    with pytest.raises(ConfigError, match=r"'memory\.vae_tile' since .*; .* 'memory\.vae_slicing' since"):
        parse_config({"thrift": {"tile": 64, "slices": True}})


def test_a_model_block_alone_knows_too(table):
    with pytest.raises(ConfigError, match=r"'model\.base' is called 'model\.name'"):
        parse_model({"base": "emoji-lcm"})


def test_the_command_says_it(table):
    result = CliRunner().invoke(app, ["train", "emoji-rocm", "watch.every=5", "--dry-run"])
    assert result.exit_code != 0
    assert "watch.evaluate_every" in str(result.exception or result.output)


def test_other_unknown_keys_are_answered_as_ever(table):
    for key in ("watch.evry", "thrif.tile", "thrift_tile"):
        with pytest.raises(ConfigError, match="unknown key"):
            load_config(preset("emoji-rocm").path, [f"{key}=1"])


def test_the_table_holds_this_releases_renames_only():
    assert faults(RENAMED) == []
    assert len(faults([Renamed("memory", "memry", "0.1")])) == 3


def faults(entries: Iterable[Renamed]) -> list[str]:
    """What is wrong with lines of the table."""
    wrong = []
    for entry in entries:
        if not __version__.startswith(f"{entry.version}."):
            wrong.append(f"{entry.old}: its release is over, take the line out")
        if entry.new not in keys():
            wrong.append(f"{entry.new}: there is no such key")
        if entry.old in keys():
            wrong.append(f"{entry.old}: there still is such a key")
    return wrong


def keys(cls: type = RunConfig, prefix: str = "") -> set[str]:
    """Every dotted key of a recipe and every block, those of all algorithms included."""
    names = set()
    for field in fields.config_fields(cls):
        names.add(prefix + field.name)
        inner = fields.block(cls, field.name)
        if inner is not None:
            names |= keys(inner, f"{prefix}{field.name}.")
    if cls is RunConfig:
        for name in ALGORITHMS:
            names |= keys(ALGORITHMS.get(name), "algorithm.")
    return names


def test_the_walk_over_the_keys_finds_them():
    assert {"watch.evaluate_every", "algorithm.beta", "model.lora.rank", "memory"} <= keys()

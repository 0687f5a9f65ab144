"""Which world numbers are of: whatever the experiments compute with counts, and nothing else does."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kedge.rewards import REWARDS
from kedge.rewards.sources import world_assets
from kedge_papers.runner import world_digest as module
from kedge_papers.runner.experiment_set import Method, load_experiment_set
from kedge_papers.runner.world_digest import parts_of, world_digest

WORLD_2 = "13afa1d706a9c07674fdc3a69f80e6ce420a549dfa900f7e494db9f64e06177e"  # as published records name it
EMOJI = load_experiment_set("emoji")


@pytest.fixture
def assets(tmp_path, monkeypatch) -> Path:
    """A copy of the world, which may be changed."""
    copy = tmp_path / "assets"
    shutil.copytree(world_assets(), copy, symlinks=True)
    monkeypatch.setattr(module, "world_assets", lambda: copy)
    return copy


def change(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b" ")


def test_the_world_that_ships_is_the_recorded_one():
    assert world_digest(EMOJI) == WORLD_2
    assert world_digest(load_experiment_set("papers")) is None


def test_a_part_that_nothing_of_it_uses_changes_nothing(assets, monkeypatch):
    (assets / "another").mkdir()
    (assets / "another" / "model.safetensors").write_bytes(b"another")
    scales = json.loads((assets / "scales.json").read_text())
    spec = replace(
        REWARDS["clipscore"], name="another", parts=(replace(REWARDS["clipscore"].parts[0], bundled="another"),)
    )
    monkeypatch.setitem(REWARDS, "another", spec)
    (assets / "scales.json").write_text(json.dumps({"another": [0.0, 1.0], **scales}, indent=1) + "\n")
    change(assets / "README.md")
    assert world_digest(EMOJI) == WORLD_2
    used = replace(EMOJI, rewards={**EMOJI.rewards, "another": "another@emoji"})
    assert world_digest(used) != WORLD_2


@pytest.mark.parametrize(
    "file",
    [
        "atlas.png",
        "aesthetic.pth",
        "captioner/config.json",
        "hpsv2/tokenizer.json",
        "emoji-lcm/unet/config.json",
        "emoji-diffusion/vae/config.json",
    ],
)
def test_a_change_of_what_it_uses_is_another_world(assets, file):
    change(assets / file)
    assert world_digest(EMOJI) != WORLD_2


def test_a_scale_that_standardised_rewards_take_counts(assets):
    scales = json.loads((assets / "scales.json").read_text())
    scales["hpsv2"][0] += 1e-6
    (assets / "scales.json").write_text(json.dumps(scales, indent=1) + "\n")
    assert world_digest(EMOJI) != WORLD_2


def test_what_is_linked_to_counts_although_it_is_not_named(assets):
    """emoji-lcm has no text encoder of its own."""
    consistency = Method("LCM", "emoji-rocm")
    alone = replace(EMOJI, bases={"consistency": consistency}, methods={"none": consistency}, tasks={}, black_box=None)
    assert "emoji-diffusion" not in parts_of(alone)
    before = world_digest(alone)
    change(assets / "emoji-diffusion" / "text_encoder" / "config.json")
    assert world_digest(alone) != before

"""A run keeps the user's own files that it was made with."""

from __future__ import annotations

import pytest

from helpers.training_world import recipe
from kedge.config import ConfigError, load_config, parse_config
from kedge.runs.own_code import own_files
from kedge.training.run import train
from kedge.workflows.load_run import load_run
from kedge.workflows.sample import sample

REWARD = """
def calm(images, prompts):
    return images.mean((1, 2, 3))

calm.differentiable = True

def words():
    return ["ein Fuchs", "eine Füchsin"]
"""


def test_a_run_keeps_the_files_of_ones_own_and_nothing_of_kedges(tmp_path):
    first, second = tmp_path / "meine Übung" / "mine.py", tmp_path / "anders" / "mine.py"
    for file in (first, second):
        file.parent.mkdir()
        file.write_text(f"# {file.parent.name}\n{REWARD}", encoding="utf-8")
    keys = {
        "reward": f'"{first}:calm"',
        "prompts": {"source": f"{first}:words"},
        "watch": {"evaluate_every": 1, "metrics": [f"0.5*{second}:calm + compressibility"]},
    }
    config = parse_config(recipe(training__steps=1) | keys)
    assert [file for file in own_files(config) if file.name == "mine.py"] == [first, second]
    train(config, tmp_path / "run")
    copies = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "run" / "code").iterdir()}
    assert copies["mine.py"] == first.read_text(encoding="utf-8")
    assert copies["anders-mine.py"] == second.read_text(encoding="utf-8")
    assert set(copies) == {
        "mine.py",
        "anders-mine.py",
        "training_world.py",
    }  # its model and algorithm are the tests' own
    train(config, tmp_path / "run", resume=True)
    assert len(list((tmp_path / "run" / "code").iterdir())) == 3

    first.unlink()
    with pytest.raises(ConfigError, match="folder code/ holds a copy"):
        load_config(tmp_path / "run")
    run = load_run(tmp_path / "run")  # who only draws needs no reward
    assert sample(run, "ein Fuchs").images.shape == (1, 3, 8, 8)


def test_a_run_without_files_of_ones_own_keeps_none():
    assert own_files(parse_config({"model": "emoji-lcm", "reward": "pickscore@emoji"})) == []

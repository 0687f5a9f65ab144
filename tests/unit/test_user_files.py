"""Objects by the name of their file: loaded once, found again, and never by training a second time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kedge
from kedge.registry import UnknownNameError, load_object, object_path
from kedge.rewards.expression import Term, parse
from kedge.workflows.overrides import overrides_from

MODULE = """
from __future__ import annotations
from dataclasses import dataclass

RUN = []
RUN.append(1)

@dataclass(frozen=True)
class Own:
    scale: float = 1.0

def score(images, prompts):
    return images.flatten(1).mean(1)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "my folder"
    folder.mkdir()
    path = folder / "own.py"
    path.write_text(MODULE)
    return path


def test_a_file_is_run_once_and_again_when_it_changes(file):
    assert load_object(f"{file}:Own") is load_object(f"{file}:Own")
    assert load_object(f"{file}:RUN") == [1]
    file.write_text(MODULE.replace("1.0", "2.0"))
    os.utime(file, ns=(1, 1))
    assert load_object(f"{file}:Own")().scale == 2.0


def test_an_object_is_found_again_by_its_path(file):
    for path in (f"{file}:score", "json:dumps"):
        assert object_path(load_object(path)) == path
    assert object_path(lambda x: x) is None
    assert object_path(str.upper) is None
    assert object_path(file) is None


def test_what_is_missing_is_named(file):
    with pytest.raises(UnknownNameError, match=r"own.py' has no 'scor'. Did you mean 'score'"):
        load_object(f"{file}:scor")
    with pytest.raises(UnknownNameError, match=r"no such file: /nowhere\.py"):
        load_object("/nowhere.py:score")
    with pytest.raises(UnknownNameError, match="in the notebook that named it"):
        load_object("__main__:nothing_of_this_name")


def test_a_reward_may_stand_in_a_folder_with_spaces(file):
    score = load_object(f"{file}:score")
    assert overrides_from({"reward": score}) == [f'reward="\\"{file}:score\\""']
    (term,) = parse(f'0.5*"{file}:score"')
    assert term == Term(0.5, f"{file}:score")
    assert parse(term.text)[0].name == term.name


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import kedge
from helpers.training_world import Climb, recipe

def lightness(images, prompts):
    return images.flatten(1).mean(1)

lightness.differentiable = True
run = kedge.train(recipe(training__steps=1), reward=lightness, out="run")
"""


def test_a_script_without_a_main_block_trains_but_is_not_run_again(tmp_path):
    """Its run remembers the file; who looks the name up later is told what to change, and nothing trains."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1])))
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{script}:lightness" in (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(ValueError, match=r"script\.py starts a training while a name in it is looked up"):
        kedge.load_config(tmp_path / "run" / "config.yaml")
    assert kedge.load_run(tmp_path / "run").step == 1  # drawing does without the reward
    script.write_text(script.read_text().replace("run =", 'if __name__ == "__main__":\n    run ='))
    assert kedge.load_config(tmp_path / "run" / "config.yaml").training.steps == 1

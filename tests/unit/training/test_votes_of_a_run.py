"""Recorded votes: what is learnt from them is known as such, and a run does not go on with others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import kedge
from helpers.training_world import recipe
from kedge.config import ConfigError, parse_config
from kedge.prompts.sets import PromptSets
from kedge.runs.resume import ResumeRefused
from kedge.training.before_loading import check_before_loading
from kedge.workflows.measurement import choose_prompts


def write_votes(path: Path, prompts: list[str], preferred: int = 0) -> Path:
    path.write_text(
        "\n".join(json.dumps({"prompt": p, "seed": i, "preferred": preferred}) for i, p in enumerate(prompts))
    )
    return path


def of_votes(path: Path, **changes) -> dict:
    return recipe(algorithm={"name": "d3po", "votes": str(path)}, watch__samples_every=0, **changes)


def test_a_run_does_not_go_on_with_other_votes(tmp_path: Path) -> None:
    votes, run = write_votes(tmp_path / "votes.jsonl", ["a cat", "a dog"]), tmp_path / "run"
    kedge.train(of_votes(votes, training__steps=2), out=run)
    write_votes(votes, ["a cat", "a dog"], preferred=1)
    with pytest.raises(ResumeRefused, match="contents of votes"):
        kedge.train(run, "training.steps=4", resume=True)
    moved = write_votes(tmp_path / "moved.jsonl", ["a cat", "a dog"])
    assert kedge.train(run, "training.steps=4", f"algorithm.votes={moved}", resume=True).step >= 4


def test_what_was_voted_on_is_trained_on(tmp_path: Path) -> None:
    votes, run = write_votes(tmp_path / "votes.jsonl", ["an owl", "a pig"]), tmp_path / "run"
    kedge.train(of_votes(votes, training__steps=1), out=run)
    assert choose_prompts(["an owl", "a pig"], None, [str(run)]).role == "train"
    assert choose_prompts(["a hen"], None, [str(run)]).role == "given"


def test_test_prompts_that_were_voted_on_test_nothing(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\n".join(f"a cat {i}" for i in range(60)))
    changes = {"prompts__source": str(tmp_path / "prompts.txt"), "watch__held_out": None}
    plain = PromptSets(parse_config(recipe(**changes)), new=True)
    voted = plain.test.prompts[:2]
    votes = write_votes(tmp_path / "votes.jsonl", voted)
    sets = PromptSets(parse_config(of_votes(votes, **changes)), new=True)
    assert sets.test.prompts == [prompt for prompt in plain.test.prompts if prompt not in voted]
    assert set(voted) <= set(sets.of_training)
    votes.unlink()  # judging a run needs its votes no more
    assert PromptSets(parse_config(of_votes(votes, **changes)), new=True).test.prompts == plain.test.prompts


def test_votes_that_cannot_be_read_are_refused_before_anything_loads(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(of_votes(tmp_path / "none.jsonl")))
    with pytest.raises(ConfigError, match=r"algorithm\.votes: no file at .*none\.jsonl"):
        check_before_loading(parse_config(yaml.safe_load(path.read_text())))

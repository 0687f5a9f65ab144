"""Resuming is a contract: what may change is a list, the rest is refused at the start, and the past stays as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from helpers.training_world import recipe
from kedge.config import parse_config
from kedge.evaluation.run_log import read_log
from kedge.runs.checkpoint import CheckpointStore
from kedge.runs.history import Stretch
from kedge.runs.resume import ResumeRefused, allowed, check_length
from kedge.training.run import train
from kedge.workflows.train import describe

HELD_OUT = {"watch__held_out": {"source": ["a hen", "a fox", "an owl"]}, "watch__evaluate_every": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(parse_config(recipe(**HELD_OUT, training__steps=4)), folder)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def go_on(run: Path, steps: int = 6, **changes):
    return train(parse_config(recipe(**{**HELD_OUT, "training__steps": steps, **changes})), run, resume=True)


def weights(run: Path) -> list[torch.Tensor]:
    newest = CheckpointStore(run / "checkpoints").latest()
    assert newest is not None
    return list(newest[1]["optimizer"]["weights"])


@pytest.mark.parametrize(
    ("key", "value", "was"),
    [
        ("reward", "helpers.training_world:lightness", "'helpers.training_world:redness'"),
        ("algorithm", {"name": "helpers.training_world:Climb", "beta": 3.0}, "0.1"),
        ("model__steps", 2, "3"),
        ("model__lora", {"rank": 2}, "4"),
        ("training__seed", 7, "0"),
        ("watch__seed", 99, "1234"),
        ("watch__pictures", 1, "2"),
        ("prompts__count", 40, "None"),
        ("prompts__source", ["a cow"], "'animals-45'"),
        ("watch__held_out", {"source": ["a hen"]}, "an owl"),
    ],
)
def test_what_would_be_learnt_differently_is_refused_at_the_start(run, key, value, was):
    log, newest = (run / "metrics.jsonl").read_bytes(), (run / "config.yaml").read_bytes()
    with pytest.raises(ResumeRefused) as refused:
        go_on(run, **{key: value})
    message = str(refused.value)
    assert (
        key.replace("__", ".").replace("algorithm", "algorithm.beta").replace("model.lora", "model.lora.rank")
        in message
    )
    assert was in message
    assert f"--from {run}" in message
    assert (run / "metrics.jsonl").read_bytes() == log
    assert (run / "config.yaml").read_bytes() == newest


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer__lr", 1e-3),
        ("optimizer__clip", 0.5),
        ("training__patience", 2),
        ("training__accumulation", 2),
        ("watch__evaluate_every", 1),
        ("watch__metrics", ["helpers.training_world:darkness"]),
        ("checkpoint__every", 1),
        ("backprop", {"last_steps": 1}),
    ],
)
def test_what_may_change_goes_on_and_is_remembered(run, key, value):
    assert go_on(run, **{key: value}).step == 6
    history = json.loads((run / "history.json").read_text())
    assert [stretch["after"] for stretch in history["stretches"]] == [0, 4]
    name = key.replace("__", ".") if "__" in key else "backprop.last_steps"
    assert history["in_words"][0].startswith("From step 5 on: ")
    assert name in history["in_words"][0]
    assert name in (run / "README.md").read_text()
    assert name in (run / "report.html").read_text()
    assert [line["step"] for line in read_log(run / "metrics.jsonl")] == list(range(7))


def test_an_unchanged_resume_leaves_config_and_history_as_they_were(run):
    before = (run / "config.yaml").read_bytes(), (run / "history.json").read_bytes()
    go_on(run, steps=4)
    assert ((run / "config.yaml").read_bytes(), (run / "history.json").read_bytes()) == before


def test_fewer_steps_than_are_trained_are_refused_and_nothing_is_written(run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(ResumeRefused, match=r"is at step 4 already: training\.steps=2 is less"):
        go_on(run, steps=2)
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert {path.name for path in after.keys() - before.keys()} <= {".lock"}
    assert all(after[path] == content for path, content in before.items() if path.name != ".lock")


def test_a_run_that_used_its_last_batch_of_experience_to_its_end_goes_on(tmp_path):
    """Of one step it took five, so that two are more than it was to take, not less."""
    check_length(2, before=1, trained=5, run=tmp_path)
    with pytest.raises(ResumeRefused, match="is at step 5 already"):
        check_length(2, before=6, trained=5, run=tmp_path)


def test_a_dry_run_says_from_where_a_run_goes_on_and_refuses_what_training_refuses(run):
    assert "# it goes on from step 4, with training.steps 4 → 6" in describe(run, "training.steps=6", resume=True)
    assert "# it is trained to its end already, step 4" in describe(run, resume=True)
    with pytest.raises(ResumeRefused, match="cannot go on with another reward"):
        describe(run, "reward=helpers.training_world:lightness", "training.steps=6", resume=True)
    with pytest.raises(ResumeRefused, match="is at step 4 already"):
        describe(run, "training.steps=2", resume=True)
    shutil.rmtree(run / "checkpoints")
    assert "# it has no whole checkpoint: it starts at step 0 again" in describe(run, resume=True)


def test_two_changes_are_two_stretches_and_the_first_is_never_rewritten(run):
    go_on(run, optimizer__lr=1e-3)
    go_on(run, steps=8, optimizer__lr=1e-4)
    stretches = json.loads((run / "history.json").read_text())["stretches"]
    assert [(each["after"], each["config"]["optimizer"]["lr"]) for each in stretches] == [
        (0, 1e-2),
        (4, 1e-3),
        (6, 1e-4),
    ]


def test_an_edited_prompt_file_is_refused_and_a_moved_one_is_not(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("a hen\na fox\nan owl\n")
    prompts = {"source": str(file)}
    train(parse_config(recipe(prompts=prompts, training__steps=2)), tmp_path / "run")
    file.rename(tmp_path / "moved.txt")
    moved = {"source": str(tmp_path / "moved.txt")}
    train(parse_config(recipe(prompts=moved, training__steps=3)), tmp_path / "run", resume=True)
    (tmp_path / "moved.txt").write_text("a hen\na fox\nan elk\n")
    with pytest.raises(ResumeRefused, match="contents of prompts"):
        train(parse_config(recipe(prompts=moved, training__steps=4)), tmp_path / "run", resume=True)


def test_a_mended_reward_of_ones_own_goes_on_and_says_so(tmp_path, caplog):
    file = tmp_path / "mine.py"
    code = "def calm(images, prompts): return {}images.mean((1, 2, 3))\ncalm.differentiable = True\n"
    file.write_text(code.format(""))
    config = {"reward": f'"{file}:calm"', "training__steps": 2}
    train(parse_config(recipe(**config)), tmp_path / "run")
    file.write_text(code.format("2 * "))
    train(parse_config(recipe(**{**config, "training__steps": 3})), tmp_path / "run", resume=True)
    assert "from step 3 on: training.steps 2 → 3, contents of reward" in caplog.text


def test_an_average_that_is_switched_on_begins_with_what_was_trained(run, tmp_path):
    go_on(run, steps=4, optimizer__ema=0.99, training__patience=4)
    before = weights(run)
    go_on(run, steps=5, optimizer__ema=0.99)
    state = CheckpointStore(run / "checkpoints").latest()[1]["optimizer"]
    decay = 2 / 11  # (1 + n) / (10 + n) at the first update
    for old, new, average in zip(before, state["weights"], state["ema"]["average"], strict=True):
        torch.testing.assert_close(average, decay * old + (1 - decay) * new)
        assert old.abs().max() > 0


def test_evaluations_that_are_switched_on_are_compared_with_the_base(tmp_path):
    quiet = {"watch__held_out": HELD_OUT["watch__held_out"]}
    train(parse_config(recipe(**quiet, training__steps=4)), tmp_path / "late")
    train(parse_config(recipe(**HELD_OUT, training__steps=6)), tmp_path / "late", resume=True)
    train(parse_config(recipe(**HELD_OUT, training__steps=6)), tmp_path / "always")
    late, always = (
        CheckpointStore(tmp_path / name / "checkpoints").latest()[1]["callbacks"]["held_out"]["base"]
        for name in ("late", "always")
    )
    assert late["name"] == "base"
    torch.testing.assert_close(late["scores"], always["scores"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("past", "now", "may"),
    [
        ("http://a:1/score", "http://b:2/score", True),
        ("http://a:1/score", "remote(timeout=600)@http://a:1/score", True),
        ("http://a:1/score", "pickscore@emoji", False),
        ("http://a:1/score", "-1*http://a:1/score", False),
        ("http://a:1/score", "http://a:1/score + aesthetic@emoji", False),
        ("0.5*http://a:1/score + aesthetic@emoji", "0.5*http://b:2/score + aesthetic@emoji", False),
        ("judge@http://a:1/v1", "judge(template=yes)@http://a:1/v1", False),
    ],
)
def test_a_reward_server_may_move(past, now, may):
    before, after = (Stretch(0, {"reward": reward}, {}) for reward in (past, now))
    assert allowed("reward", before, after) is may
    assert allowed("contents of reward", before, after) is may


def test_a_run_whose_checkpoints_are_all_damaged_begins_again_and_says_so(run, caplog):
    lines = read_log(run / "metrics.jsonl")
    for state in (run / "checkpoints").glob("*/state.pt"):
        state.write_bytes(b"")
    go_on(run, steps=2)
    assert f"{run} has no whole checkpoint: it starts at step 0 again" in caplog.text
    assert read_log(run / "metrics-before.jsonl") == lines
    assert [line["step"] for line in read_log(run / "metrics.jsonl")] == [0, 1, 2]


def test_a_new_run_starts_from_the_adapter_of_another_and_remembers_it(run, tmp_path):
    new = tmp_path / "new"
    config = parse_config(recipe(reward="helpers.training_world:lightness", training__steps=1, checkpoint__keep=9))
    train(config, new, start_from=run)
    first = torch.load(new / "checkpoints" / "step-00000000" / "state.pt")["optimizer"]["weights"]
    assert all(torch.equal(a, b) for a, b in zip(first, weights(run), strict=True))
    history = json.loads((new / "history.json").read_text())
    assert history["stretches"][0]["parent"]["run"] == str(run)
    assert history["in_words"] == [f"It started from the adapter of {run} at step 4."]
    assert history["in_words"][0] in (new / "README.md").read_text()
    train(parse_config(recipe(reward="helpers.training_world:lightness", training__steps=2)), new, resume=True)
    assert json.loads((new / "history.json").read_text())["stretches"][0]["parent"]["step"] == 4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model__lora": {"rank": 2}}, "model.lora.rank is 4 there and 2 here: .*needs model.lora.rank=4"),
        ({"model__lora": {"rank": 4, "alpha": 8.0}}, "model.lora.alpha is 32 there and 8 here"),
    ],
)
def test_an_adapter_of_another_shape_is_refused_and_leaves_no_folder(run, tmp_path, changes, says):
    with pytest.raises(ValueError, match=says):
        train(parse_config(recipe(**changes)), tmp_path / "runs" / "new", start_from=run)
    assert not (tmp_path / "runs").exists()


def test_resuming_and_starting_from_another_exclude_each_other(run):
    with pytest.raises(ValueError, match="--resume goes on with a run, --from starts a new one"):
        train(parse_config(recipe(**HELD_OUT)), run, resume=True, start_from=run)


def test_a_run_of_an_older_version_is_held_to_its_config(run):
    for manifest in (run / "checkpoints").glob("*/manifest.json"):
        data = json.loads(manifest.read_text())
        del data["history"]
        manifest.write_text(json.dumps(data))
    (run / "history.json").unlink()
    with pytest.raises(ResumeRefused, match=r"training\.seed was 0, now it is 5"):
        go_on(run, training__seed=5)
    assert go_on(run).step == 6
    assert yaml.safe_load((run / "config.yaml").read_text())["training"]["steps"] == 6

"""One bad byte in a log or a manifest loses neither the run nor the lines behind it, and is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from helpers.training_world import recipe
from kedge.config import parse_config
from kedge.evaluation.report import write_report
from kedge.evaluation.run_log import read_log
from kedge.runs.checkpoint import CheckpointStore
from kedge.training.run import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("damaged") / "run"
    train(parse_config(recipe(training__steps=4)), folder)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def steps(path: Path) -> list[float | None]:
    return [line["step"] for line in read_log(path)]


BROKEN = (
    b'{"step": 2, "lo\n',
    b'{"step": 2, "x": "\xff"}\n',
    b"[2]\n",
    b'"two"\n',
    b'{"step": "two"}\n',
    b"[" * 99999 + b"\n",
)


@pytest.mark.parametrize("broken", BROKEN, ids=["cut", "not UTF-8", "list", "text", "no number", "deep"])
def test_a_broken_line_in_the_middle_loses_itself_only_and_is_told(run, caplog, broken):
    log = run / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    damaged = b"".join([lines[0], broken, *lines[2:]])
    log.write_bytes(damaged)
    write_report(run)
    train(parse_config(recipe(training__steps=6)), run, resume=True)
    assert "metrics.jsonl, line 2, cannot be read: left out" in caplog.text
    assert (run / "metrics-damaged.jsonl").read_bytes() == damaged
    assert steps(log) == [1, 3, 4, 5, 6]
    assert log.read_bytes().splitlines()[1] == lines[2].rstrip()  # byte for byte


def test_a_half_last_line_of_a_finished_run_is_told(run, caplog):
    log = run / "metrics.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    train(parse_config(recipe(training__steps=6)), run, resume=True)
    assert "has no line of 1 of the 4 steps that the checkpoint has done, step 4 first" in caplog.text


def test_a_checkpoint_that_came_without_its_log_is_told(run, caplog):
    """The run goes on, but its curve begins where its model had risen already."""
    log = run / "metrics.jsonl"
    log.unlink()
    train(parse_config(recipe(training__steps=6)), run, resume=True)
    assert "has no line of 4 of the 4 steps that the checkpoint has done, step 1 first" in caplog.text
    assert steps(log) == [5, 6]


def test_zeros_behind_a_log_are_nothing(run, caplog):
    log = run / "metrics.jsonl"
    log.write_bytes(log.read_bytes() + b"\0" * 100)
    train(parse_config(recipe(training__steps=5)), run, resume=True)
    assert "cannot be read" not in caplog.text
    assert steps(log) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("damage", [b"\xff", b"[" * 99999, b"null", b"", None])
def test_a_damaged_manifest_falls_back_to_the_checkpoint_before(run, caplog, damage):
    newest = run / "checkpoints" / "step-00000004"
    if damage is None:
        shutil.rmtree(newest)
        newest.write_bytes(b"a file")
    else:
        data = (newest / "manifest.json").read_bytes()
        (newest / "manifest.json").write_bytes(data[:20] + damage + data[21:] if damage == b"\xff" else damage)
    assert CheckpointStore(run / "checkpoints").latest()[0] == 2
    assert "step-00000004 is damaged" in caplog.text
    assert train(parse_config(recipe(training__steps=4)), run, resume=True).step == 4
    assert steps(run / "metrics.jsonl") == [1, 2, 3, 4]
    assert CheckpointStore(run / "checkpoints").latest()[0] == 4


def test_a_checkpoint_with_other_contents_is_named(run):
    store = CheckpointStore(run / "checkpoints")
    store.save(5, {"surprise": 1})
    with pytest.raises(ValueError, match="does not hold what this version of Kedge expects"):
        train(parse_config(recipe(training__steps=6)), run, resume=True)


def test_a_schedule_that_runs_to_another_end_is_told(tmp_path, caplog):
    train(parse_config(recipe(training__steps=2, optimizer__schedule="linear")), tmp_path / "run")
    train(parse_config(recipe(training__steps=4, optimizer__schedule="linear")), tmp_path / "run", resume=True)
    assert "with 4 instead of 2 steps the learning rate goes from 0 to 0.5 of optimizer.lr at step 2" in caplog.text
    train(parse_config(recipe(training__steps=5, optimizer__schedule="constant")), tmp_path / "run", resume=True)
    assert "is constant instead of linear: the learning rate goes from 0 to 1 of optimizer.lr at step 4" in caplog.text

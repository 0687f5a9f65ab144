"""A run that was interrupted, killed or damaged equals one that was not, bit for bit."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers.processes import environment
from helpers.training_world import recipe
from kedge.config import RunConfig, parse_config
from kedge.evaluation.run_log import read_log
from kedge.runs.checkpoint import CheckpointStore
from kedge.runs.folder import RunFolder
from kedge.training.assemble import assemble
from kedge.training.processes import Processes
from kedge.training.trainer import Outcome, Trainer

WATCHED = {
    "watch__samples_every": 3,
    "watch__samples_count": 2,
    "watch__evaluate_every": 3,
    "watch__held_out": {"source": "animals-45", "count": 4},
    "watch__metrics": ["helpers.training_world:darkness"],
    "optimizer__ema": 0.9,
    "optimizer__schedule": "cosine",
    "training__accumulation": 2,
}


def run(config: RunConfig, folder: Path, resume: bool = False) -> tuple[Trainer, Outcome]:
    run_folder = RunFolder(folder)
    run_folder.open(config, 1, "cpu")
    trainer = assemble(config, run_folder, Processes("cpu"), resume=resume)
    return trainer, trainer.fit()


def final_state(folder: Path) -> dict:
    newest = CheckpointStore(folder / "checkpoints").latest()
    assert newest is not None
    return newest[1]


def log_without_clock(folder: Path) -> list[dict]:
    return [
        {k: v for k, v in line.items() if k not in ("seconds", "peak_memory_mb")}
        for line in read_log(folder / "metrics.jsonl")
    ]


def assert_equal(a, b, where="state"):
    """Bit for bit, through any nesting."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, where
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}[{i}]")
    else:
        assert a == b, where


def assert_same_run(one: Path, other: Path):
    assert_equal(final_state(one), final_state(other))
    assert log_without_clock(one) == log_without_clock(other)
    pictures = sorted(p.name for p in (one / "samples").glob("*.png"))
    assert pictures == sorted(p.name for p in (other / "samples").glob("*.png"))
    for name in pictures:
        assert (one / "samples" / name).read_bytes() == (other / "samples" / name).read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(parse_config(recipe(**WATCHED, training__steps=8)), folder)
    return folder


def test_the_same_seed_gives_the_same_run(whole, tmp_path):
    run(parse_config(recipe(**WATCHED, training__steps=8)), tmp_path / "again")
    assert_same_run(whole, tmp_path / "again")


def test_another_seed_gives_another_run(whole, tmp_path):
    run(parse_config(recipe(**WATCHED, training__steps=8, training__seed=1)), tmp_path / "other")
    assert (
        final_state(whole)["optimizer"]["weights"][1]
        .ne(final_state(tmp_path / "other")["optimizer"]["weights"][1])
        .any()
    )


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_saves_and_the_resumed_run_equals_an_uninterrupted_one(whole, tmp_path, number):
    folder = tmp_path / "run"
    climb = {"name": "helpers.training_world:Climb", "interrupt": 4, "signal": number}
    trainer, outcome = run(parse_config(recipe(**WATCHED, training__steps=8, algorithm=climb)), folder)
    assert outcome.ended == "interrupted"
    assert outcome.step == 5  # the step that was under way is finished
    assert trainer.store.steps()[-1] == 5
    _, outcome = run(parse_config(recipe(**WATCHED, training__steps=8)), folder, resume=True)
    assert outcome == Outcome(8, "finished")
    assert_same_run(whole, folder)


def test_longer_training_goes_on_from_a_finished_run(tmp_path):
    config = recipe(**{**WATCHED, "optimizer__schedule": "constant"})
    run(parse_config({**config, "training": {**config["training"], "steps": 8}}), tmp_path / "whole")
    run(parse_config({**config, "training": {**config["training"], "steps": 3}}), tmp_path / "parts")
    run(parse_config({**config, "training": {**config["training"], "steps": 8}}), tmp_path / "parts", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_depths_that_are_drawn_go_on_where_they_stopped(tmp_path):
    rocm = {"algorithm": {"name": "rocm", "beta": 0.1}, "backprop": {"random_depth": 0.5}}
    run(parse_config(recipe(**rocm, training__steps=6)), tmp_path / "whole")
    run(parse_config(recipe(**rocm, training__steps=3)), tmp_path / "parts")
    run(parse_config(recipe(**rocm, training__steps=6)), tmp_path / "parts", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    full = {**rocm, "backprop": {}}
    run(parse_config(recipe(**full, training__steps=6)), tmp_path / "full")
    weights = [final_state(tmp_path / name)["optimizer"]["weights"][1] for name in ("whole", "full")]
    assert weights[0].ne(weights[1]).any()


def test_checkpoints_are_made_between_batches_only(tmp_path):
    climb = {"name": "helpers.training_world:Climb", "updates_per_batch": 3}
    config = parse_config(recipe(training__steps=7, algorithm=climb, checkpoint__every=1, checkpoint__keep=9))
    trainer, outcome = run(config, tmp_path / "run")
    assert trainer.store.steps() == [3, 6, 9]
    assert outcome.step == 9  # the batch that reaches the last step is finished


def test_a_damaged_checkpoint_is_passed_over(whole, tmp_path, caplog):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    last = sorted((folder / "checkpoints").iterdir())[-1] / "state.pt"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    run(parse_config(recipe(**WATCHED, training__steps=8)), folder, resume=True)
    assert "damaged" in caplog.text
    assert "step-00000008" in caplog.text
    assert_same_run(whole, folder)


def test_the_log_is_cut_back_to_the_checkpoint(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "checkpoints" / "step-00000008")
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('{"step": 9, "loss": 1.0}\n{"step": 10, "lo')  # killed while it wrote
    run(parse_config(recipe(**WATCHED, training__steps=8)), folder, resume=True)
    assert [line["step"] for line in read_log(folder / "metrics.jsonl")] == list(range(9))
    assert_same_run(whole, folder)


def test_resuming_with_another_adapter_or_other_prompts_is_refused(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    with pytest.raises(ValueError, match=r"another shape: resume with the same model and model\.lora"):
        run(parse_config(recipe(**WATCHED, training__steps=8, model__lora={"rank": 2})), folder, resume=True)
    prompts = {"source": "animals-45", "count": 40}
    with pytest.raises(ValueError, match="went through 45 prompts with seed 0, this run has 40"):
        run(parse_config(recipe(**WATCHED, training__steps=8, prompts=prompts)), folder, resume=True)


SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from kedge.config import load_config
from kedge.training.assemble import assemble
from kedge.training.processes import Processes
from kedge.runs.folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
assemble(load_config(folder.config), folder, Processes("cpu"), resume=True).fit()
"""


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], env=environment(), stderr=subprocess.DEVNULL)


def test_kill_9_loses_at_most_the_steps_since_the_last_checkpoint(tmp_path):
    steps = 120
    config = parse_config(recipe(training__steps=steps, checkpoint__every=5))
    run(config, tmp_path / "whole")

    folder = tmp_path / "killed"
    RunFolder(folder).open(config, 1, "cpu")
    process = start(folder)
    deadline = time.monotonic() + 300
    while len(read_log(folder / "metrics.jsonl")) < 23 and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = read_log(folder / "metrics.jsonl")[-1]["step"]
    assert 22 <= done < steps
    saved = CheckpointStore(folder / "checkpoints").latest()
    assert saved is not None
    assert done - saved[0] <= 5

    run(config, folder, resume=True)
    assert_same_run(tmp_path / "whole", folder)


def test_the_log_is_json(whole):
    for line in (whole / "metrics.jsonl").read_text().splitlines():
        assert "NaN" not in line
        assert isinstance(json.loads(line)["step"], int)


def test_a_refused_resume_leaves_the_log_as_it_was(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    shutil.rmtree(sorted((folder / "checkpoints").iterdir())[-1])  # the one before is of an earlier step
    shutil.copytree(sorted((whole / "checkpoints").iterdir())[-1], folder / "checkpoints" / "step-00000003")
    before = (folder / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match="another shape"):
        run(parse_config(recipe(**WATCHED, training__steps=8, model__lora={"rank": 3})), folder, resume=True)
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_a_run_that_was_interrupted_before_its_first_step_begins_its_log_again(tmp_path):
    config = parse_config(recipe(**WATCHED, training__steps=2))
    trainer = assemble(config, RunFolder(tmp_path), Processes("cpu"))
    trainer.loggers[0].start(0)
    trainer.loggers[0].log(0, {"held_out/redness": 1.0})
    trainer.loggers[0].close()
    trainer.save()
    run(config, tmp_path, resume=True)
    assert [line["step"] for line in read_log(tmp_path / "metrics.jsonl")] == [0, 1, 2]


def test_putting_a_trainer_together_leaves_the_callers_context_alone(tmp_path):
    trainer = assemble(parse_config(recipe(training__steps=1)), RunFolder(tmp_path), Processes("cpu"))
    reward = trainer.context.reward
    replace(trainer)
    assert trainer.context.reward is reward

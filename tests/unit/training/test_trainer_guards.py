"""What the loop does when things go wrong, and what it shows."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import training_world
from helpers.training_world import recipe
from kedge.algorithms.base import Algorithm, Loss
from kedge.config import parse_config
from kedge.evaluation.run_log import read_log
from kedge.runs.folder import RunFolder
from kedge.training.assemble import assemble
from kedge.training.callbacks import Watched
from kedge.training.processes import Processes
from kedge.training.progress import Bar, Lines, display
from kedge.training.run import train
from kedge.training.trainer import Outcome, Trainer, TrainingFailed


def trainer_for(folder: Path, **changes) -> Trainer:
    config = parse_config(recipe(**changes))
    run_folder = RunFolder(folder)
    run_folder.open(config, 1, "cpu")
    return assemble(config, run_folder, Processes("cpu"))


def test_steps_without_a_finite_gradient_are_skipped_counted_and_end_the_run(tmp_path, capsys):
    climb = {"name": "helpers.training_world:Climb", "poison": 3}
    trainer = trainer_for(tmp_path, training__steps=20, training__patience=4, algorithm=climb)
    with pytest.raises(TrainingFailed, match=r"4 steps in a row had no finite gradient, the last at step 7"):
        trainer.fit()
    log = read_log(tmp_path / "metrics.jsonl")
    assert [line.get("skipped") for line in log] == [0, 0, 0, 1, 2, 3]  # the seventh ended the run
    assert log[3]["loss"] is None
    assert all(torch.isfinite(p).all() for p in trainer.context.policy.trainable())
    assert "step skipped" in capsys.readouterr().err


@dataclass
class EverySecondIsBroken:
    """Another algorithm, with NaN for every second loss."""

    algorithm: Algorithm
    losses: int = 0

    def updates(self, context):
        for update in self.algorithm.updates(context):
            yield map(self._broken, update)

    def _broken(self, loss):
        self.losses += 1
        return Loss(loss.value * math.nan, loss.metrics) if self.losses % 2 else loss


def test_only_skips_in_a_row_end_a_run(tmp_path):
    trainer = trainer_for(tmp_path, training__steps=10, training__patience=2, training__accumulation=1)
    trainer.algorithm = EverySecondIsBroken(trainer.algorithm)
    assert trainer.fit() == Outcome(10, "finished", "")
    assert trainer.skipped == 5


def test_skips_in_a_row_are_counted_across_a_resume(tmp_path):
    climb = {"name": "helpers.training_world:Climb", "poison": 2}
    changes = {"training__patience": 4, "training__accumulation": 1, "algorithm": climb}
    first = trainer_for(tmp_path, training__steps=4, **changes)
    assert first.fit() == Outcome(4, "finished", "")
    assert first.skipped == 2
    config = parse_config(recipe(training__steps=20, **changes))
    resumed = assemble(config, RunFolder(tmp_path), Processes("cpu"), resume=True)
    with pytest.raises(TrainingFailed, match=r"4 steps in a row had no finite gradient, the last at step 6"):
        resumed.fit()


def test_what_cannot_be_loaded_leaves_no_folder(tmp_path):
    config = parse_config(recipe(model__name="nowhere", model__kind="lcm"))
    with pytest.raises(ValueError, match="no model 'nowhere'"):
        train(config, tmp_path / "runs" / "mine")
    assert list(tmp_path.iterdir()) == []


def test_training_raises_the_reward(tmp_path):
    trainer_for(tmp_path, training__steps=60, training__batch_size=8, checkpoint__every=0).fit()
    rewards = [line["reward"] for line in read_log(tmp_path / "metrics.jsonl")]
    assert np.mean(rewards[-10:]) > np.mean(rewards[:10]) + 0.1


def test_an_algorithm_that_never_updates_is_stopped(tmp_path):
    climb = {"name": "helpers.training_world:Climb", "updates_per_batch": 0}
    with pytest.raises(TrainingFailed, match="gave nothing to learn from"):
        trainer_for(tmp_path, algorithm=climb).fit()


def test_sample_grids_begin_at_step_0_and_show_the_base_beside_the_tuned(tmp_path):
    trainer = trainer_for(
        tmp_path, training__steps=20, watch__samples_every=10, watch__samples=["cat", "dog"], optimizer__lr=0.1
    )
    trainer.fit()
    names = [f"step-{step:06d}.png" for step in (0, 10, 20)]
    assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == names
    first, last = (np.asarray(Image.open(tmp_path / "samples" / name)).astype(int) for name in (names[0], names[-1]))
    assert first.shape == last.shape
    changed = np.abs(first - last).sum((0, 2)) > 0
    # Only the right column (and its heading) changes.
    assert not changed[: changed.size // 2 - 10].any()
    assert changed[changed.size // 2 :].any()


def test_watching_does_not_change_the_training(tmp_path):
    def weights(name: str, **watch) -> list[torch.Tensor]:
        trainer = trainer_for(tmp_path / name, optimizer__ema=0.5, **watch)
        trainer.fit()
        return [p.detach().clone() for p in trainer.context.policy.trainable()]

    blind = weights("blind")
    seeing = weights("seeing", watch__samples_every=1, watch__evaluate_every=1, watch__tensorboard=True)
    assert all(torch.equal(a, b) for a, b in zip(blind, seeing, strict=True))
    assert list((tmp_path / "seeing" / "tensorboard").iterdir())


class Stopper:
    name = "stopper"

    def __call__(self, step: int, run: Watched) -> dict[str, float]:
        if step == 2:
            run.stop("enough")
        return {"seen": float(step), "odd": math.nan}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_a_callback_adds_numbers_and_may_stop_the_run(tmp_path):
    trainer = trainer_for(tmp_path)
    trainer.callbacks = [Stopper()]
    assert trainer.fit() == Outcome(2, "stopped", "enough")
    log = read_log(tmp_path / "metrics.jsonl")
    assert [line["seen"] for line in log] == [0, 1, 2]
    assert log[0]["odd"] is None
    assert trainer.store.steps() == [2]


def test_the_guard_sees_a_model_that_cheats(tmp_path, capsys):
    """Darkness is never trained on; with a reward that asks for light it must fall, and the guard must say so."""
    changes = {
        "reward": "helpers.training_world:lightness",
        "watch__metrics": ["helpers.training_world:darkness"],
        "watch__evaluate_every": 10,
        "training__steps": 40,
        "optimizer__lr": 0.01,
        "algorithm": {"name": "helpers.training_world:Climb", "beta": 0.0},
    }
    outcome = trainer_for(tmp_path / "stop", **changes, watch__guard="stop").fit()
    assert outcome.ended == "stopped"
    assert "on training prompts: Learnt to cheat" in outcome.reason  # nothing else was held out
    looks = [line for line in read_log(tmp_path / "stop" / "metrics.jsonl") if "alarm" in line]
    assert [line["alarm"] for line in looks] == [0, 0, 1]  # it takes two in a row
    assert [line["alarm/jury"] for line in looks[-2:]] == [1, 1]
    outcome = trainer_for(tmp_path / "warn", **changes).fit()
    assert outcome.ended == "finished"
    assert "Learnt to cheat" in capsys.readouterr().err


def test_lines_where_there_is_no_terminal():
    out = io.StringIO()
    shown = display(out)
    assert isinstance(shown, Lines)
    shown.start(0, 100)
    shown.update(0, {"held_out/pickscore": 20.0})
    shown.update(1, {"reward": 1.0, "divergence": 0.5, "lr": 1.0})
    shown.update(100, {"reward": 2.0})
    first, last = out.getvalue().splitlines()
    assert first == "step 0/100 · held-out 20"
    assert last.startswith("step 100/100 · held-out 20 · reward 1.1 · divergence 0.5 · ")
    assert last.endswith("steps/s")


def test_a_bar_where_there_is_one():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    shown = display(out)
    assert isinstance(shown, Bar)
    shown.start(0, 10)
    shown.update(5, {"reward": 21.25, "divergence": 0.01, "held_out/pickscore": 20.5})
    shown.say("[note] as it is")
    shown.close()
    for part in ("5/10", "reward 21.25", "divergence 0.01", "held-out 20.5", "steps/s", "[note] as it is"):
        assert part in out.getvalue()


def test_a_watched_reward_that_fails_in_mid_run_is_left_out_and_does_not_end_the_training(tmp_path, capsys):
    metrics = [f"helpers.training_world:{name}" for name in ("sometimes", "darkness")]
    watch = {"watch__evaluate_every": 1, "watch__metrics": metrics, "watch__batch_size": 200}
    training_world.sometimes.good = 2
    trainer = trainer_for(tmp_path, training__steps=3, **watch)
    assert trainer.fit() == Outcome(3, "finished")
    assert f"left out of this evaluation: reward {metrics[0]!r} returned nan" in capsys.readouterr().err
    log = read_log(tmp_path / "metrics.jsonl")
    assert [f"train_prompts/{metrics[0]}" in line for line in log] == [True, True, False, False]
    assert all(f"train_prompts/{metrics[1]}" in line for line in log)


def test_a_watched_reward_that_fails_at_once_is_refused_at_once(tmp_path):
    training_world.sometimes.good = 0
    watch = {"watch__evaluate_every": 1, "watch__metrics": ["helpers.training_world:sometimes"]}
    with pytest.raises(ValueError, match="sometimes' returned nan"):
        trainer_for(tmp_path, **watch).fit()


def test_no_checkpoint_is_written_while_steps_are_skipped(tmp_path):
    climb = {"name": "helpers.training_world:Climb", "poison": 4}
    trainer = trainer_for(tmp_path, training__steps=20, checkpoint__every=2, algorithm=climb)
    with pytest.raises(TrainingFailed, match=r"loss itself is not finite: look at the reward '.*redness'"):
        trainer.fit()
    assert trainer.store.steps() == [2, 4]  # the last ones before the first skip


def test_an_adapter_that_is_no_number_is_never_saved(tmp_path):
    trainer = trainer_for(tmp_path, training__steps=2, checkpoint__every=1)
    trainer.fit()
    with torch.no_grad():
        next(iter(trainer.context.policy.trainable())).fill_(math.nan)
    trainer.step = 3
    with pytest.raises(TrainingFailed, match="not finite: not saved"):
        trainer.save()
    assert trainer.store.steps() == [1, 2]


def test_a_gradient_of_exactly_nothing_is_told(tmp_path, capsys):
    climb = {"name": "helpers.training_world:Climb", "beta": 0}
    trainer_for(tmp_path, training__steps=1, reward="helpers.training_world:flat", algorithm=climb).fit()
    assert "step 1: the gradient is exactly 0" in capsys.readouterr().err


def test_a_beta_that_holds_nothing_is_told(tmp_path, capsys):
    weak = {"name": "rocm", "divergence": "hellinger", "beta": 1e-6}
    trainer_for(tmp_path, training__steps=9, algorithm=weak).fit()
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("β holds next to nothing") == 1
    assert "measured on the first 16 pictures" in said

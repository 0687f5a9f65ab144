"""The best step by judges is kept, exported and remembered; the run stops when it has passed it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.training_world import recipe
from kedge.config import parse_config
from kedge.config.text import ConfigError
from kedge.evaluation.best_checkpoint import BestByJudges, judges_of
from kedge.evaluation.result import Evaluation
from kedge.evaluation.run_log import read_log
from kedge.training.assemble import assemble
from kedge.training.checkpoint import CheckpointStore
from kedge.training.guard_checks import check_guard
from kedge.training.processes import Processes
from kedge.training.run_folder import RunFolder
from kedge.training.trainer import Outcome, Trainer
from kedge.workflows.frontier import frontier
from kedge.workflows.load_run import load_run

JUDGE = "helpers.training_world:dimness"
PROMPTS = tuple(f"prompt {i}" for i in range(20))


def scored(shift: float, seed: int = 0, spread: float = 0.1) -> Evaluation:
    """An evaluation whose judge moved by ``shift`` base standard deviations, and differently for each prompt."""
    base = np.random.default_rng(0).normal(size=len(PROMPTS))
    moved = base + (shift + spread * np.random.default_rng(seed).normal(size=len(PROMPTS))) * base.std(ddof=1)
    return Evaluation("x", PROMPTS, 0, {"judge": moved if shift or seed else base})


def looks(*shifts: float) -> tuple[BestByJudges, list[tuple[bool, bool]]]:
    best, base = BestByJudges(("judge",)), scored(0.0)
    results = [best.look(0, base, base)]
    for n, shift in enumerate(shifts, start=1):
        results.append(best.look(10 * n, scored(shift, seed=n), base))
    return best, [(look.best, look.over) for look in results]


def test_the_best_is_remembered_and_two_falls_in_a_row_end_it():
    best, results = looks(0.5, 1.0, 0.7, 0.8, 0.2)
    assert [is_best for is_best, _ in results] == [True, True, True, False, False, False]
    assert [over for _, over in results] == [False, False, False, False, True, True]
    assert best.step == 20


def test_a_fall_that_recovers_ends_nothing():
    _, results = looks(1.0, 0.5, 0.99, 0.5, 1.2)
    assert not any(over for _, over in results)


def test_less_than_a_standard_error_is_no_fall():
    best, base = BestByJudges(("judge",)), scored(0.0)
    best.look(0, base, base)
    best.look(10, scored(1.0, seed=1, spread=2.0), base)
    assert not best.look(20, scored(0.9, seed=2, spread=2.0), base).over
    assert best.falls == 0


def test_a_reward_that_only_hurts_keeps_the_base():
    best, results = looks(-0.5, -1.0)
    assert best.step == 0
    assert results[-1] == (False, True)


def test_its_state_is_plain():
    best, _ = looks(0.5, 1.0, 0.7)
    other = BestByJudges(("judge",))
    other.load_state_dict(best.state_dict())
    assert (other.step, other.falls) == (20, 1)
    assert other.look(40, scored(0.7, seed=9), scored(0.0)) == best.look(40, scored(0.7, seed=9), scored(0.0))


def test_who_judges():
    metrics = ["pickscore@emoji", "clipscore@emoji", "imagereward@emoji", "oracle", JUDGE]
    assert judges_of(metrics, ["pickscore@emoji"]) == ("imagereward@emoji", JUDGE)


def best_run(steps: int, **changes):
    """Light is trained, dimness judges: the base is best, and the run is over at the second fall."""
    settings = {
        "reward": "helpers.training_world:lightness",
        "watch__metrics": [JUDGE],
        "watch__evaluate_every": 2,
        "watch__guard": "best",
        "watch__held_out": {"source": "animals-45", "count": 6},
        "training__steps": steps,
        **changes,
    }
    return parse_config(recipe(**settings))


def fit(config, folder, *, resume: bool = False) -> tuple[Trainer, Outcome]:
    run_folder = RunFolder(folder)
    run_folder.open(config, 1, "cpu")
    trainer = assemble(config, run_folder, Processes("cpu"), resume=resume)
    return trainer, trainer.fit()


def test_a_run_stops_past_its_best_and_its_result_is_the_best(tmp_path):
    trainer, outcome = fit(best_run(20), tmp_path / "run")
    assert (outcome.step, outcome.ended) == (4, "stopped")
    assert "past its best at step 0, on training prompts: the judges" in outcome.reason
    with trainer.result() as step:
        assert step == 0
        assert not any(weight.any() for weight in trainer.context.policy.up.weight)
    assert trainer.context.policy.up.weight.any()  # training itself can go on from where it was
    run = load_run(tmp_path / "run", "cpu")
    assert run.step == 0
    assert not run.policy.up.weight.any()
    log = read_log(tmp_path / "run" / "metrics.jsonl")
    assert [line.get("best_step") for line in log] == [0, None, 0, None, 0]
    assert sorted(path.name for path in (tmp_path / "run" / "watched").iterdir()) == [
        f"step-{step:08d}.json" for step in (0, 2, 4)
    ]


def test_a_resumed_run_keeps_the_same_best(tmp_path):
    rewarding = {
        "watch__metrics": ["helpers.training_world:darkness", JUDGE],
        "reward": "helpers.training_world:redness",
    }
    fit(best_run(6, **rewarding), tmp_path / "whole")
    fit(best_run(2, **rewarding), tmp_path / "parts")
    fit(best_run(6, **rewarding), tmp_path / "parts", resume=True)
    one, other = (CheckpointStore(tmp_path / name / "checkpoints").latest()[1] for name in ("whole", "parts"))
    assert one["chosen"]["step"] == other["chosen"]["step"]
    for a, b in zip(one["chosen"]["weights"], other["chosen"]["weights"], strict=True):
        assert torch.equal(a, b)
    assert one["callbacks"] == other["callbacks"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"watch__evaluate_every": 0}, "watch.evaluate_every"),
        ({"watch__metrics": []}, "needs a judge"),
        ({"watch__metrics": ["oracle"]}, "needs a judge"),
        ({"watch__guard": "stop", "algorithm": {"name": "rocm", "anchor": "auto"}}, "watch.guard=best"),
    ],
)
def test_what_cannot_judge_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        check_guard(best_run(4, **changes))


def test_a_run_that_watched_itself_has_a_frontier(tmp_path):
    """This world's policy has no adapter whose strength could be turned: the steps alone are told."""
    fit(best_run(8, watch__guard="warn"), tmp_path / "run")
    result = frontier(tmp_path / "run", device="cpu")
    assert [point.label for point in result.frontier.steps] == [0, 2, 4, 6, 8]
    assert result.frontier.judges == (JUDGE,)
    assert result.frontier.strengths == ()
    assert result.frontier.advice().startswith("Do not use it")
    assert "How far to go" in result.report.read_text()
    assert "Do not use it" in str(result)


def test_a_run_that_did_not_watch_itself_has_none(tmp_path):
    fit(parse_config(recipe(training__steps=2)), tmp_path / "run")
    with pytest.raises(ValueError, match="kept no evaluations while it trained"):
        frontier(tmp_path / "run", device="cpu")

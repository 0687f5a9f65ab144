"""The best step by judges is kept, exported and remembered; the run stops when it has passed it."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.training_world import darkness, dimness, recipe, redness
from kedge.config import parse_config
from kedge.config.text import ConfigError
from kedge.evaluation.best_checkpoint import BestByJudges, choice_in_words, chosen_step, judges_of
from kedge.evaluation.diversity import DIVERSITIES, WHERE, WITHIN
from kedge.evaluation.report import write_report
from kedge.evaluation.result import Evaluation
from kedge.evaluation.run_log import read_log
from kedge.runs.checkpoint import CheckpointStore
from kedge.runs.folder import RunFolder
from kedge.training.assemble import assemble
from kedge.training.before_loading import check_guard
from kedge.training.processes import Processes
from kedge.training.run import train
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


def varied(shift: float, share: float, name: str = WITHIN, spread: float = 0.05) -> Evaluation:
    """As :func:`scored`, with that share of the base's diversity; ``spread`` is how much prompts differ in it."""
    now = scored(shift, seed=1)
    shares = share + spread * np.random.default_rng(5).normal(size=len(PROMPTS))
    return replace(now, statistics={name: 0.5 * (shares if share < 1 else np.ones(len(PROMPTS)))})


@pytest.mark.parametrize("name", DIVERSITIES)
def test_a_step_whose_pictures_grew_alike_is_never_the_best_and_counts_as_a_fall(name):
    best, base = BestByJudges(("judge",)), varied(0.0, 1.0, name)
    assert best.look(0, base, base).best
    assert best.look(10, varied(0.5, 0.9, name), base).best  # alike a little: not below 85 %
    look = best.look(20, varied(2.0, 0.6, name), base)
    assert (look.best, look.over, best.step) == (False, False, 10)
    assert f"it cannot be the best: 59 % {WHERE[name]} (57–61)" in look.sentence
    assert best.look(30, varied(3.0, 0.5, name), base).over
    assert best.look(40, varied(3.0, 0.95, name), base).best


def test_a_diversity_that_fell_within_chance_excludes_nothing():
    best, base = BestByJudges(("judge",)), varied(0.0, 1.0)
    best.look(0, base, base)
    look = best.look(10, varied(1.0, 0.8, spread=0.3), base)
    assert (look.best, look.narrowed) == (True, "")


def test_diversities_by_another_encoder_exclude_nothing():
    best, base = BestByJudges(("judge",)), varied(0.0, 1.0)
    best.look(0, base, base)
    assert best.look(10, replace(varied(1.0, 0.3), facts={"encoder": "another"}), base).best


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


class MoreAlike:
    """An encoder to which the pictures of each evaluation (two batches) are more alike than those of the one before."""

    name, calls = "more alike", 0

    def __call__(self, images):
        common = torch.full((len(images), 1), (self.calls // 2) / 2)
        self.calls += 1
        return torch.nn.functional.normalize(torch.cat([common, images.flatten(1) - 0.5], dim=1), dim=1)


def test_a_run_whose_judges_like_one_picture_keeps_a_step_that_varies(tmp_path, monkeypatch):
    """The judge likes red as the reward does, and goes on rising while the pictures grow alike."""
    monkeypatch.setattr("kedge.evaluation.encoders.choose_encoder", lambda *_: "more alike")
    monkeypatch.setattr("kedge.evaluation.encoders.load_encoder", lambda *_: MoreAlike())
    monkeypatch.setattr("helpers.training_world.dimness.__code__", redness.__code__)
    changes = {"reward": "helpers.training_world:redness", "training__batch_size": 8, "watch__evaluate_every": 4}
    _, outcome = fit(best_run(30, **changes), tmp_path / "run")
    assert outcome.ended == "stopped"
    assert "its pictures vary less than the base's, so that it cannot be the best" in outcome.reason
    log = [line for line in read_log(tmp_path / "run" / "metrics.jsonl") if "narrowed" in line]
    assert [line["narrowed"] for line in log[-2:]] == [1, 1]
    last = log[-1]
    assert last["judges"] > max(line["judges"] for line in log[:-2])
    assert last["best_step"] == last["step"] - 8
    page = write_report(tmp_path / "run").read_text()
    assert f"The result is step {last['best_step']:g}, which the judges liked best." in page
    assert f"{last['step']:g}, whose pictures vary less than 85 % of the base" in page
    advice = frontier(tmp_path / "run", device="cpu").frontier
    assert advice.best_step.label == last["best_step"]
    assert "which they like better, pictures vary less" in advice.advice()


@pytest.mark.parametrize(("answers", "steps", "ended"), [("++-++", 4, "finished"), ("++--", 6, "stopped")])
def test_a_look_without_its_judge_is_no_best_and_two_end_the_run(answers, steps, ended, tmp_path, monkeypatch, capsys):
    """Once is an accident; from the second on nobody would see what becomes of the model."""
    config = best_run(steps, watch__metrics=[JUDGE, "helpers.training_world:darkness"])
    left = iter(answers)  # of the judge: two batches a look, and no second one after a failure

    def failing(images, prompts):
        return darkness(images, prompts) * (1 if next(left) == "+" else float("nan"))

    failing.made_from, failing.sees_damage = dimness.made_from, True
    monkeypatch.setattr("helpers.training_world.dimness", failing)
    trainer, outcome = fit(config, tmp_path / "run")
    assert outcome.ended == ended
    assert trainer.chosen["step"] == 0
    assert f"cannot be the best, because these judges are missing: {JUDGE}" in "".join(capsys.readouterr())
    if ended == "stopped":
        assert outcome.reason == f"2 looks in a row nobody could judge it, because these judges are missing: {JUDGE}"


def test_judges_that_are_asked_from_a_resume_on_choose_from_there_on(tmp_path):
    """What is told as the result is what is exported: the first look of theirs, until they like another better."""
    folder = tmp_path / "run"
    fit(best_run(4, watch__guard="warn"), folder)
    trainer, _ = fit(best_run(12), folder, resume=True)
    step, log = trainer.chosen["step"], read_log(folder / "metrics.jsonl")
    assert step >= 6
    assert chosen_step(log) == step
    assert f"The result is step {step}, which the judges liked best." in choice_in_words(log)
    assert load_run(folder, "cpu").step == step
    trainer, _ = fit(best_run(14, watch__guard="warn"), folder, resume=True)
    assert trainer.chosen is None
    assert choice_in_words(read_log(folder / "metrics.jsonl")) == ""
    trainer, _ = fit(best_run(16), folder, resume=True)
    assert trainer.chosen["step"] == 16  # anew: the weights of then are gone


def one_result(folder) -> tuple[int, str]:
    """The step that a run's model, its card's numbers and its report are of."""
    words = re.findall(r"The result is step (\d+)", write_report(folder).read_text())
    return load_run(folder, "cpu").step, "".join(words)


def test_a_choice_that_is_switched_off_is_no_result_any_more(tmp_path):
    """Also where the resume does not look, or has nothing left to train."""
    folder = tmp_path / "run"
    trained = train(best_run(4), folder)
    assert trained.ended == "stopped"
    assert one_result(folder) == (0, "0")
    train(best_run(4, watch__guard="warn"), folder, resume=True)
    assert one_result(folder) == (4, "")
    train(best_run(5, watch__guard="warn"), folder, resume=True)
    assert one_result(folder) == (5, "")
    assert "5 steps" in (folder / "README.md").read_text()


def test_judges_that_say_nothing_choose_nothing(tmp_path, monkeypatch):
    """Asked from a resume on, and silent: the result is where it ended, and nothing else is told."""
    folder = tmp_path / "run"
    fit(best_run(4, watch__guard="warn"), folder)

    def silent(images, prompts):
        return darkness(images, prompts) * float("nan")

    silent.made_from, silent.sees_damage = dimness.made_from, True
    monkeypatch.setattr("helpers.training_world.dimness", silent)
    trainer, outcome = fit(best_run(12), folder, resume=True)
    assert (outcome.step, outcome.ended, trainer.chosen) == (8, "stopped", None)
    assert chosen_step(read_log(folder / "metrics.jsonl")) is None
    assert one_result(folder) == (8, "")


def test_the_first_look_after_a_resume_is_no_best_if_its_pictures_collapsed():
    best, base = BestByJudges(("judge",)), varied(0.0, 1.0)
    first, second, third = (best.look(n, varied(0.5, share), base) for n, share in ((50, 0.3), (60, 1.0), (70, 1.0)))
    assert (first.best, first.over, len(first.narrowed) > 0) == (False, False, True)
    assert (second.best, third.over, best.step) == (True, False, 60)


def test_a_judge_that_comes_with_a_resume_scores_the_base_too(tmp_path):
    folder, darkness_too = tmp_path / "run", {"watch__metrics": [JUDGE, "helpers.training_world:darkness"]}
    fit(best_run(4, watch__guard="warn", watch__metrics=["helpers.training_world:darkness"]), folder)
    trainer, _ = fit(best_run(6, **darkness_too), folder, resume=True)
    (held_out,) = [callback for callback in trainer.callbacks if callback.name == "held_out"]
    assert JUDGE in held_out.base.scores
    assert trainer.chosen["step"] == 6
    assert JUDGE in frontier(folder, device="cpu").frontier.judges  # which reads the base's file


def test_an_evaluation_that_comes_with_a_resume_keeps_its_base_for_the_frontier(tmp_path):
    folder = tmp_path / "run"
    fit(best_run(4, watch__guard="warn", watch__evaluate_every=0), folder)
    fit(best_run(8, watch__guard="warn"), folder, resume=True)
    assert [point.label for point in frontier(folder, device="cpu").frontier.steps] == [0, 6, 8]


def test_what_a_run_unlearns_by_going_on_from_an_earlier_step_is_no_look_of_its_own(tmp_path):
    folder = tmp_path / "run"
    changes = {"watch__guard": "warn", "watch__samples_every": 2, "checkpoint__every": 2, "checkpoint__keep": 9}
    train(best_run(8, **changes), folder)
    files = RunFolder(folder)
    for step in (6, 8):
        shutil.rmtree(files.checkpoints / f"step-{step:08d}")
    train(best_run(5, **changes), folder, resume=True)
    assert sorted(path.name for path in files.watched.iterdir()) == [f"step-{n:08d}.json" for n in (0, 2, 4)]
    assert max(path.name for path in files.samples.iterdir()) == "step-000004.png"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"watch__evaluate_every": 0}, "watch.evaluate_every"),
        ({"watch__evaluate_every": 5}, "would look at step 0 alone"),
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


def test_a_run_that_ended_before_its_first_look_is_told_so(tmp_path):
    fit(best_run(3, watch__guard="warn", watch__evaluate_every=4), tmp_path / "run")
    with pytest.raises(ValueError, match=r"of its base alone: .* at most its steps"):
        frontier(tmp_path / "run", device="cpu")

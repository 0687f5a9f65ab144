"""The comparison of all methods: the same queries for each, and none of the tuning's prompts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kedge.config.workload import workload_of
from kedge.evaluation.result import Evaluation
from kedge.workflows.runner.runs import Run
from kedge_papers import TARGETS
from kedge_papers.pages.exhibit import save_exhibit
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord
from kedge_papers.runner.experiment_set import load_experiment_set
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.targets.methods import FINAL, TITLES
from kedge_papers.targets.tuning import RATES

OPTIONS = MatrixOptions(load_experiment_set("emoji"), seeds=2)
PROMPTS = ("a cat", "a dog", "a fox")


def trained(target: str) -> list[Run]:
    return [run for run in TARGETS.get(target).runs(OPTIONS) if run.train]


def queries(run: Run) -> int:
    config = run.config()
    work = workload_of(config)
    return work.batches(config.training.steps) * work.queries


@pytest.mark.parametrize("target", ["methods", "tuning"])
def test_every_run_gets_the_same_reward_queries(target):
    assert len({queries(run) for run in trained(target)}) == 1


def test_every_task_gets_what_its_preset_asks_for_unless_told_otherwise():
    tasks = TARGETS.get("tasks")
    for run in tasks.runs(OPTIONS):
        if run.train:
            assert queries(run) == queries(Run("as it ships", run.recipe))
    told = {queries(run) for run in tasks.runs(replace(OPTIONS, budget=320)) if run.train}
    assert told == {320}


def test_the_presets_are_what_is_compared():
    for run in trained("methods"):
        config, told = run.config(), run.overrides
        assert config.reward == "aesthetic@emoji"
        assert config.prompts.source == "animals-45"
        assert not {key for key in told if key.startswith(("algorithm", "model"))}
        if run.title != "ROCM":
            assert not {key for key in told if key.startswith("optimizer")}
            shipped = Run("as it ships", run.recipe).config()
            assert config.training.steps == shipped.training.steps


def test_no_prompt_is_tuned_and_tested_on():
    tuning, methods = ({run.measures[FINAL].prompts for run in trained(name)} for name in ("tuning", "methods"))
    assert not tuning & methods
    assert not {run.seed for run in trained("tuning")} & {run.seed for run in trained("methods")}
    rates = {(run.title, run.config().optimizer.lr) for run in trained("tuning")}
    assert len(rates) == len(TITLES) * len(RATES)


def record(run: Run, gain: float) -> RunRecord:
    """What a run would leave whose every score rose by ``gain``."""
    scores = {"aesthetic@emoji": np.array([5.0, 6.0, 7.0]) + gain, "oracle": np.array([0.5, 0.6, 0.4])}
    point = {"held_out/aesthetic@emoji": 6.0 + gain, "held_out/oracle": 0.5, "peak_memory_mb": 900.0}
    points = [{**point, "step": s, "queries": 32.0 * s, "seconds": 5.0 * s, "total_queries": 32 * s} for s in (1, 2)]
    return RunRecord.from_dict(
        {
            "name": run.name, "title": run.title, "seed": run.seed, "arguments": run.arguments(), "recipe": run.recipe,
            "state": "finished", "step": 2, "seconds": 10.0, "queries": 32.0,
            "curve": curve_of(points) if run.train else curve_of([]),
            "evaluations": {FINAL: Evaluation(run.name, PROMPTS, 0, scores).to_dict()},
        }
    )  # fmt: skip


def curve_of(points: list[dict[str, float]]):
    from kedge_papers.records.run_record import curve

    log = [{**point, "seconds": 5.0} for point in points]
    return curve(log, 32.0)


@pytest.fixture
def result() -> Result:
    gains = {"ROCM": 0.5, "RLCM": 0.2, "DDPO": 0.1, "DPOK": 0.0, "D3PO": -0.1}
    runs = tuple(record(run, gains.get(run.title, 0.0)) for run in TARGETS.get("methods").runs(OPTIONS))
    facts = {"rewards": OPTIONS.experiments.rewards, "truth": OPTIONS.experiments.truth}
    return Result("methods", facts, runs)


def test_one_figure_and_one_table_from_the_records_alone(result, tmp_path):
    written = save_exhibit(TARGETS.get("methods").show(result), tmp_path, "methods")
    assert {path.name for path in written} >= {"methods.png", "methods.svg", "methods.md", "methods.csv"}
    table = (tmp_path / "methods.md").read_text()
    lines = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("|")}
    assert list(lines)[2:] == list(TITLES.values())
    assert "+0.5" in lines["ROCM"]
    assert "**" in lines["ROCM"]
    assert "−0.1" in lines["D3PO"]
    assert " 64 " in lines["DDPO"]
    assert "Mean of 2 seeds" in table

"""Equal budgets: whole batches of experience, counted as they are trained, and enough steps to learn anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kedge.config import ConfigError
from kedge.config.workload import workload_of
from kedge.workflows.runner.cost import step_cost
from kedge_papers import TARGETS
from kedge_papers.runner.budget import LEAST_STEPS, for_passes, for_steps
from kedge_papers.runner.experiment_set import load_experiment_set
from kedge_papers.runner.options import MatrixOptions

EMOJI = load_experiment_set("emoji")


def updates(config) -> int:
    return workload_of(config).updates


def test_equal_passes_are_equal_because_batches_of_experience_are_used_to_their_end():
    """DPOK makes two optimizer steps of a batch: an odd number of steps would be trained as one more."""
    options = MatrixOptions(EMOJI, budget=60_000)
    for run in TARGETS.get("table1b").runs(options):
        if run.train and "equal-queries" not in run.name:
            config = run.config()
            batch = step_cost(config).passes * updates(config)
            assert config.training.steps % updates(config) == 0
            spent = step_cost(config).passes * config.training.steps
            assert 0 <= options.passes() - spent < batch
            assert config.training.steps >= LEAST_STEPS


def test_so_many_steps_end_with_a_whole_batch_of_experience():
    """DPOK makes two optimizer steps of a batch."""
    (dpok, *_) = [run for run in TARGETS.get("table1b").runs(MatrixOptions(EMOJI)) if run.name.startswith("dpok")]
    assert updates(dpok.config()) == 2
    assert [for_steps(dpok, steps).config().training.steps for steps in (7, 8)] == [8, 8]
    batch = step_cost(dpok.config()).passes * 2
    assert for_passes(dpok, 10.9 * batch).config().training.steps == 20  # and not the half of an eleventh


def test_a_budget_that_buys_no_training_is_refused_with_the_one_that_would():
    """9,000 passes bought D3PO one optimizer step, DDPO four, and their rows were base models'."""
    for budget, message in (
        (9000, r"ddpo--pickscore--0: the budget buys 4 optimizer steps.*--budget 19200 network passes"),
        (30000, r"d3po--pickscore--0: the budget buys 6 optimizer steps.*--budget 49280 network passes"),
    ):
        with pytest.raises(ConfigError, match=message):
            TARGETS.get("table1b").runs(MatrixOptions(replace(EMOJI, tuned={}), budget=budget))
    with pytest.raises(ConfigError, match="reward queries or more"):
        TARGETS.get("rlcm-fig4").runs(MatrixOptions(EMOJI, budget=64))


def test_no_regularisation_is_also_compared_at_equal_queries():
    """It needs fewer passes for a picture, and so has more queries of equal passes: a row of its own has KL's."""
    queries = {}
    for run in TARGETS.get("table1b").runs(MatrixOptions(EMOJI)):
        if run.train:
            queries[run.name] = step_cost(run.config()).queries * run.config().training.steps
    assert queries["none-equal-queries--pickscore--0"] == queries["kl--pickscore--0"] < queries["none--pickscore--0"]


def test_rlcm_and_ddpo_ask_the_reward_equally_often():
    for run in TARGETS.get("rlcm-fig4").runs(MatrixOptions(EMOJI, budget=640)):
        if run.train:
            config = run.config()
            assert step_cost(config).queries * config.training.steps == 640


def test_every_method_of_the_comparison_asks_the_reward_equally_often():
    queries = set()
    for run in TARGETS.get("methods").runs(MatrixOptions(EMOJI)):
        if run.train:
            config = run.config()
            queries.add(round(step_cost(config).queries * config.training.steps))
    assert queries == {EMOJI.comparison.queries} == {EMOJI.grid.queries[-1]}

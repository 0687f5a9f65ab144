"""Budgets in network passes, shared out by what each algorithm says that it takes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kedge.algorithms.base import Needs
from kedge.config import parse_config
from kedge.workflows.runner.cost import step_cost, steps_for
from kedge_papers.runner.experiment_set import load_experiment_set

DOCS = Path(__file__).parents[2] / "docs"


def config_for(**changes):
    return parse_config({"reward": "helpers.training_world:lightness", "model": {"name": "emoji-lcm"}, **changes})


def test_a_budget_buys_as_many_steps_as_fit():
    config = config_for()
    cost = step_cost(config).passes
    assert steps_for(config, 10 * cost) == 10
    assert steps_for(config, 10.9 * cost) == 10
    assert steps_for(config, 0.1 * cost) == 1
    doubled = replace(config, training=replace(config.training, accumulation=2))
    assert step_cost(doubled).passes == 2 * cost


def test_guidance_of_a_diffusion_model_calls_its_network_twice():
    def passes(model: str, guidance: float) -> float:
        config = config_for(model={"name": model, "guidance": guidance}, reward="compressibility", algorithm="ddpo")
        return step_cost(config).passes

    assert passes("emoji-diffusion", 7.5) == 2 * passes("emoji-diffusion", 0.0)
    assert passes("emoji-lcm", 7.5) == passes("emoji-lcm", 0.0)  # embedded


@dataclass(frozen=True)
class Silent:
    """An algorithm of somebody's own that says nothing about itself."""

    needs = Needs()

    def updates(self, context):
        yield []


def test_no_budget_is_shared_out_to_an_algorithm_that_says_nothing():
    config = config_for(algorithm=f"{__name__}:Silent")
    cost = step_cost(config)
    assert not cost.stated
    assert cost.passes == config.training.batch_size * config.model.steps  # of the sampling alone
    with pytest.raises(ValueError, match=r"Silent' does not say how many network passes"):
        steps_for(config, 1000)


def test_the_papers_own_experiments_have_a_computed_cost_that_says_so():
    """A row for every method of Table 1 and both methods on every task; whole budgets, and no word of a measurement."""
    record = json.loads((DOCS / "records" / "papers-cost.json").read_text(encoding="utf-8"))
    papers = load_experiment_set("papers")
    rows = {row["run"]: row for row in record["rows"]}
    assert {name.split("--")[0] for name in rows} >= set(papers.methods)
    assert len(rows) == len(papers.methods) + 2 * len(papers.tasks)
    for name, row in rows.items():
        if "--pickscore--" in name:
            assert row["passes"] == pytest.approx(papers.passes, rel=0.06), name
        else:
            assert row["queries"] == pytest.approx(papers.queries, rel=0.01), name
        assert row["hours"] == pytest.approx(row["steps"] * row["seconds_a_step"] / 3600)
    assert "**Computed, not measured**" in (DOCS / "reproduce.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_recorded_cost_is_what_is_counted():
    from bench.papers_cost import cost_of, runs

    record = json.loads((DOCS / "records" / "papers-cost.json").read_text(encoding="utf-8"))
    for (group, run), row in zip(runs(), record["rows"], strict=True):
        counted = {"group": group, **cost_of(run)}
        assert {key: value for key, value in counted.items() if isinstance(value, str)}.items() <= row.items()
        numbers = {key: value for key, value in counted.items() if not isinstance(value, str)}
        assert numbers == pytest.approx({key: row[key] for key in numbers})

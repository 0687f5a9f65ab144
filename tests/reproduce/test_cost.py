"""Budgets in network passes, shared out by what each algorithm says that it takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from kedge.algorithms.base import Needs
from kedge.config import parse_config
from kedge.workflows.runner.cost import step_cost, steps_for


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

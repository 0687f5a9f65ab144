"""Equal budgets: whole batches of experience, counted as they are really trained, and enough of them to learn from."""

from __future__ import annotations

import math
from dataclasses import replace

from kedge.config import ConfigError, RunConfig
from kedge.config.workload import workload_of
from kedge.workflows.runner.cost import step_cost
from kedge.workflows.runner.runs import Run

CHECKPOINTS = 8  # in a run
LEAST_STEPS = 10  # optimizer steps below which a run is not a training


def for_passes(run: Run, passes: float, least: int = LEAST_STEPS) -> Run:
    """The run for as many whole batches of experience as ``passes`` network passes buy.

    Raises:
        ConfigError: they buy fewer than ``least`` optimizer steps, or the algorithm does not say what it takes.
    """
    config = run.config()
    cost = step_cost(config)
    if not cost.stated:
        raise ConfigError(
            f"{run.name}: algorithm {config.algorithm.name!r} does not say how many network passes it takes, so no "
            "budget of them can be shared out: give it a method workload (docs/extending.md, An algorithm)"
        )
    each = cost.passes * _updates(config)
    return _long_enough(run, int(passes / each), each, "network passes", least)


def for_queries(run: Run, queries: float, least: int = LEAST_STEPS) -> Run:
    """The run for as many whole batches of experience as come nearest to ``queries`` reward queries.

    Raises:
        ConfigError: they buy fewer than ``least`` optimizer steps.
    """
    config = run.config()
    each = step_cost(config).queries * _updates(config)
    return _long_enough(run, round(queries / each), each, "reward queries", least)


def for_steps(run: Run, steps: int) -> Run:
    """The run for so many optimizer steps, or the next whole batch of experience."""
    updates = _updates(run.config())
    steps = updates * math.ceil(steps / updates)
    overrides = {"training.steps": steps, "checkpoint.every": max(1, steps // CHECKPOINTS), "checkpoint.keep": 1}
    return replace(run, overrides={**run.overrides, **overrides})


def _long_enough(run: Run, batches: int, each: float, unit: str, least: int) -> Run:
    updates = _updates(run.config())
    if batches * updates < least:
        needed = math.ceil(least / updates) * each
        raise ConfigError(
            f"{run.name}: the budget buys {batches * updates} optimizer steps, too few to train anything. Give it "
            f"--budget {math.ceil(needed)} {unit} or more, which are {least}"
        )
    return for_steps(run, batches * updates)


def _updates(config: RunConfig) -> int:
    """Optimizer steps that are made of a batch of experience."""
    return workload_of(config).updates

"""What a target is asked for: a world, how many seeds, how large a budget. It makes the runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kedge.workflows.runner.cost import step_cost, steps_for
from kedge.workflows.runner.runs import Measure, Run
from kedge_papers.runner.experiment_set import World

# Runs of a matrix are watched from outside: nothing but the log is needed while they train.
QUIET = {"watch.samples_every": 0, "watch.evaluate_every": 0, "watch.tensorboard": False}
CHECKPOINTS = 8  # in a run


@dataclass(frozen=True)
class Settings:
    """What all runs of a matrix share.

    Attributes:
        seeds: repetitions of every run.
        budget: for each run, in the target's own unit; None takes the world's.
        count: prompts that the finished models are measured on; None takes the world's.
        overrides: on every training, after everything else.
        name: of the world, for the record.
    """

    world: World
    name: str = "emoji"
    seeds: int = 1
    budget: float | None = None
    count: int | None = None
    overrides: Mapping[str, Any] | None = None

    def passes(self) -> float:
        """The budget in network passes."""
        return self.world.passes if self.budget is None else self.budget

    def queries(self) -> float:
        """The budget in reward queries."""
        return self.world.queries if self.budget is None else self.budget

    def measure(self, prompts: str | tuple[str, ...] | None = None, **options: Any) -> Measure:
        """Of a finished model: all metrics on the test prompts, unless told otherwise."""
        count = self.count or (self.world.test_count if prompts is None else None)
        told = {"prompts": prompts or self.world.test, "metrics": self.world.metrics, "count": count}
        return Measure(**{**told, **options})

    def base(self, kind: str, measures: Mapping[str, Measure], suffix: str = "") -> Run:
        """A model before training: ``diffusion`` or ``consistency``."""
        model = self.world.bases[kind]
        name = "-".join(filter(None, ("base", kind, suffix)))
        told = {**model.overrides, **(self.overrides or {})}
        return Run(name, model.recipe, told, model.title, train=False, measures=measures)

    def row(self, method: str, reward: str, seed: int, measures: Mapping[str, Measure]) -> Run:
        """A run of ROCM's Table 1: a method, trained on a reward for the budget in network passes."""
        chosen = self.world.methods[method]
        told = {"reward": self.world.rewards[reward], "prompts": self.world.train}
        name, overrides = f"{method}--{reward}--{seed}", {**self.world.shared, **chosen.overrides, **told}
        if beta := overrides.get("algorithm.beta"):
            overrides["algorithm.beta"] = float(f"{beta * self.world.spreads.get(reward, 1.0):.3g}")
        run = Run(name, chosen.recipe, overrides, chosen.title, measures=measures, seed=seed)
        return self.with_passes(run)

    def with_passes(self, run: Run, times: float = 1.0) -> Run:
        """The run for ``times`` the budget in network passes."""
        quiet = self._quiet(run)
        return self._long(quiet, steps_for(quiet.config(), times * self.passes()))

    def with_queries(self, run: Run, times: float = 1.0) -> Run:
        """The run for ``times`` the budget in reward queries."""
        quiet = self._quiet(run)
        return self._long(quiet, max(1, round(times * self.queries() / step_cost(quiet.config()).queries)))

    def _quiet(self, run: Run) -> Run:
        told = {**QUIET, **run.overrides, **(self.overrides or {})}
        return replace(run, overrides=told)

    def _long(self, run: Run, steps: int) -> Run:
        told = {"training.steps": steps, "checkpoint.every": max(1, steps // CHECKPOINTS), "checkpoint.keep": 1}
        return replace(run, overrides={**run.overrides, **told})

    def repetitions(self) -> range:
        """The seeds."""
        return range(self.seeds)

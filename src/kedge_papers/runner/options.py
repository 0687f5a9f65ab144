"""What a target is asked for: an experiment set, how many seeds, how large a budget. It makes the runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kedge.workflows.runner.cost import step_cost, steps_for
from kedge.workflows.runner.runs import Measure, Run
from kedge_papers.runner.experiment_set import ExperimentSet

# Runs of a matrix are watched from outside: nothing but the log is needed while they train.
QUIET = {"watch.samples_every": 0, "watch.evaluate_every": 0, "watch.tensorboard": False}
CHECKPOINTS = 8  # in a run


@dataclass(frozen=True)
class MatrixOptions:
    """What all runs of a matrix share.

    Attributes:
        seeds: repetitions of every run.
        budget: for each run, in the target's own unit; None takes the experiment set's.
        count: prompts that the finished models are measured on; None takes the experiment set's.
        overrides: on every training, after everything else.
        name: of the experiment set, for the record.
    """

    experiments: ExperimentSet
    name: str = "emoji"
    seeds: int = 1
    budget: float | None = None
    count: int | None = None
    overrides: Mapping[str, Any] | None = None

    def passes(self) -> float:
        """The budget in network passes."""
        return self.experiments.passes if self.budget is None else self.budget

    def queries(self) -> float:
        """The budget in reward queries."""
        return self.experiments.queries if self.budget is None else self.budget

    def measure(self, prompts: str | tuple[str, ...] | None = None, **options: Any) -> Measure:
        """Of a finished model: all metrics on the test prompts, unless values otherwise."""
        count = self.count or (self.experiments.test_count if prompts is None else None)
        values = {"prompts": prompts or self.experiments.test, "metrics": self.experiments.metrics, "count": count}
        return Measure(**{**values, **options})

    def base(self, kind: str, measures: Mapping[str, Measure], suffix: str = "") -> Run:
        """A model before training: ``diffusion`` or ``consistency``."""
        model = self.experiments.bases[kind]
        name = "-".join(filter(None, ("base", kind, suffix)))
        values = {**model.overrides, **(self.overrides or {})}
        return Run(name, model.recipe, values, model.title, train=False, measures=measures)

    def row(self, method: str, reward: str, seed: int, measures: Mapping[str, Measure]) -> Run:
        """A run of ROCM's Table 1: a method, trained on a reward for the budget in network passes."""
        chosen = self.experiments.methods[method]
        values = {"reward": self.experiments.rewards[reward], "prompts": self.experiments.train}
        name, overrides = f"{method}--{reward}--{seed}", {**self.experiments.shared, **chosen.overrides, **values}
        if beta := overrides.get("algorithm.beta"):
            overrides["algorithm.beta"] = float(f"{beta * self.experiments.spreads.get(reward, 1.0):.3g}")
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
        values = {**QUIET, **run.overrides, **(self.overrides or {})}
        return replace(run, overrides=values)

    def _long(self, run: Run, steps: int) -> Run:
        values = {"training.steps": steps, "checkpoint.every": max(1, steps // CHECKPOINTS), "checkpoint.keep": 1}
        return replace(run, overrides={**run.overrides, **values})

    def repetitions(self) -> range:
        """The seeds."""
        return range(self.seeds)

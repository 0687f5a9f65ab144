"""What a target is asked for: an experiment set, how many seeds, how large a budget. It makes the runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kedge.algorithms.hybrid import Hybrid
from kedge.algorithms.rocm import ROCM
from kedge.config import ConfigError
from kedge.workflows.runner.runs import Measure, Run
from kedge_papers.runner.budget import LEAST_STEPS, for_passes, for_queries, for_steps
from kedge_papers.runner.experiment_set import ExperimentSet, Overrides

# Runs of a matrix are watched from outside: nothing but the log is needed while they train.
QUIET = {"watch.samples_every": 0, "watch.evaluate_every": 0, "watch.tensorboard": False}
# An experiment set has three sets of prompts of its own: nothing is kept from those to train on.
WHOLE = {"prompts.tuning": 0, "prompts.test": 0}


@dataclass(frozen=True)
class MatrixOptions:
    """What all runs of a matrix share.

    Attributes:
        seeds: repetitions of every run.
        budget: for each run, in the target's own unit; None takes the experiment set's.
        count: prompts that the finished models are measured on; None takes the experiment set's.
        overrides: on every training, after everything else.
        name: of the experiment set, for the record.
        least_steps: a budget that buys a run fewer optimizer steps is refused.
    """

    experiments: ExperimentSet
    name: str = "emoji"
    seeds: int = 1
    budget: float | None = None
    count: int | None = None
    overrides: Mapping[str, Any] | None = None
    least_steps: int = LEAST_STEPS

    def passes(self) -> float:
        """The budget in network passes."""
        return self.experiments.passes if self.budget is None else self.budget

    def queries(self) -> float:
        """The budget in reward queries."""
        return self.experiments.queries if self.budget is None else self.budget

    def measure(self, prompts: str | tuple[str, ...] | None = None, **options: Any) -> Measure:
        """Of a finished model: all metrics on the test prompts, unless the arguments say otherwise."""
        experiments = self.experiments
        values: dict[str, Any] = {
            "prompts": prompts or experiments.test,
            "metrics": experiments.metrics,
            "count": self.count or (experiments.test_count if prompts is None else None),
            "samples": experiments.samples,
            "seed": experiments.noise_seed,
        }
        return Measure(**{**values, **options})

    def base(self, kind: str, measures: Mapping[str, Measure], suffix: str = "") -> Run:
        """A model before training: ``diffusion`` or ``consistency``."""
        model = self.experiments.bases[kind]
        name = "-".join(filter(None, ("base", kind, suffix)))
        values = {**model.overrides, **(self.overrides or {})}
        return Run(name, model.recipe, values, model.title, train=False, measures=measures)

    def method(self, method: str, reward: str) -> tuple[str, Overrides]:
        """Recipe and overrides of a method on a reward: its own, what tuning chose, and the unit of its β."""
        experiments = self.experiments
        chosen = experiments.method_of(method, reward)
        overrides = {**experiments.shared, **chosen.overrides, **experiments.tuned.get(reward, {}).get(method, {})}
        overrides["prompts"] = experiments.train
        algorithm = Run(method, chosen.recipe, overrides).config().algorithm.instance
        overrides["reward"] = experiments.registered(reward)
        if reward in experiments.black_boxes:
            return chosen.recipe, overrides | self._surrogate(algorithm, experiments.black_boxes[reward])
        if isinstance(algorithm, ROCM) and algorithm.beta:
            overrides["algorithm.beta_unit"] = self.unit(reward)
        return chosen.recipe, overrides

    def _surrogate(self, algorithm: object, surrogate: str) -> Overrides:
        """How an algorithm makes use of a reward's surrogate: beside it, in its place, or not at all."""
        if isinstance(algorithm, Hybrid):
            return {"algorithm.surrogate": surrogate}
        return {"reward": surrogate} if isinstance(algorithm, ROCM) else {}

    def unit(self, reward: str) -> float:
        """What β counts in: the standard deviation of a reward's scores, or the reward's own numbers as published.

        Raises:
            ConfigError: the experiment set has deviations, but not this reward's.
        """
        spreads = self.experiments.spreads
        if spreads and reward not in spreads:
            raise ConfigError(
                f"{self.name}: spreads has no standard deviation of {reward}, in which β of a method is counted: add "
                f"that of the base model's scores (kedge reproduce table4), beside {', '.join(spreads)}"
            )
        return spreads.get(reward, 1.0)

    def row(
        self, method: str, reward: str, seed: int, measures: Mapping[str, Measure], chosen: Overrides | None = None
    ) -> Run:
        """A run of ROCM's Table 1: a method, trained on a reward for the budget in network passes.

        Args:
            chosen: what tuning chose for a method that is this one under another name.
        """
        recipe, overrides = self.method(method, reward)
        overrides |= chosen or {}
        title = self.experiments.methods[method].title
        return self.with_passes(Run(f"{method}--{reward}--{seed}", recipe, overrides, title, True, measures, seed))

    def with_passes(self, run: Run, times: float = 1.0) -> Run:
        """The run for ``times`` the budget in network passes."""
        return for_passes(self.quiet(run), times * self.passes(), self.least_steps)

    def with_queries(self, run: Run, queries: float | None = None) -> Run:
        """The run for the budget in reward queries, or for so many."""
        return for_queries(self.quiet(run), self.queries() if queries is None else queries, self.least_steps)

    def with_steps(self, run: Run, steps: int) -> Run:
        """The run for so many optimizer steps."""
        return for_steps(self.quiet(run), steps)

    def watched(self, run: Run, evaluations: int, prompts: str, metrics: tuple[str, ...], count: int | None) -> Run:
        """The run with prompts scored as it trains, equally far apart, from the noise of the final measurement."""
        watch: Overrides = {
            "watch.evaluate_every": max(1, run.config().training.steps // evaluations),
            "watch.held_out": {"source": prompts, **({"count": count} if count else {})},
            "watch.metrics": list(metrics),
            "watch.pictures": 1,
            "watch.encoder": "none",
            "watch.seed": self.experiments.noise_seed,
        }
        return replace(run, overrides={**run.overrides, **watch, **(self.overrides or {})})

    def quiet(self, run: Run) -> Run:
        """The run without anything that watches it, with the command's own overrides."""
        return replace(run, overrides={**QUIET, **run.overrides, **WHOLE, **(self.overrides or {})})

    def repetitions(self, times: int = 1) -> range:
        """The seeds."""
        first = self.experiments.first_seed
        return range(first, first + times * self.seeds)

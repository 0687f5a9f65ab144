"""How often a run is evaluated and shown while it trains, and what is drawn then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kedge.config import RunConfig
from kedge.config.workload import workload_of
from kedge.policies.families import network_calls
from kedge.prompts.sets import PromptSets

if TYPE_CHECKING:
    from kedge.planning.operations import OperationCost
    from kedge.planning.watching import LookCost


@dataclass(frozen=True)
class Looks:
    """How often the first process evaluates and shows a run, and what is drawn then.

    Attributes:
        evaluations: the first before training.
        prompts, pictures: of each evaluation, and of each of its prompts.
        grids: of samples, the first before training.
        shown: pictures in a grid, of the tuned model; those of the base are drawn once.
    """

    evaluations: int
    prompts: int
    pictures: int
    grids: int
    shown: int

    @property
    def evaluated(self) -> int:
        """Pictures that are scored."""
        return self.evaluations * self.prompts * self.pictures

    @property
    def drawn(self) -> int:
        """Pictures of the tuned model."""
        return self.evaluated + self.grids * self.shown

    @property
    def of_base(self) -> int:
        """Pictures of the base model."""
        return self.shown if self.grids else 0

    def passes(self, config: RunConfig) -> int:
        """Calls of the network for one sample."""
        model = config.model
        calls = network_calls(model.kind, model.omega, model.parts)
        return (2 * self.drawn + self.of_base) * model.steps * calls

    def cost(self, batch: LookCost, size: int) -> OperationCost:
        """All of them, from what a batch of ``size`` pictures takes."""
        cost = batch.draw * (self.drawn / size)
        for part, pictures in ((batch.base, self.of_base), (batch.score, self.evaluated)):
            cost += part * (pictures / size)
        return cost

    def __str__(self) -> str:
        parts = []
        if self.evaluations:
            parts.append(f"{self.evaluations} evaluations of {self.prompts} prompts × {self.pictures} pictures")
        if self.grids:
            parts.append(f"{self.grids} grids of {self.shown} pictures")
        return " and ".join(parts) or "nothing"


def looks_of(config: RunConfig, sets: PromptSets) -> Looks:
    """The looks of a run, whose last batch of experience is trained to its end."""
    watch, work = config.watch, workload_of(config)
    steps = work.batches(config.training.steps) * work.updates
    tuning = sets.tuning.prompts
    shown = len(watch.samples) or len(list(dict.fromkeys(tuning))[: watch.samples_count])
    return Looks(
        evaluations=_times(steps, watch.evaluate_every),
        prompts=len(tuning),
        pictures=watch.pictures,
        grids=_times(steps, watch.samples_every) if shown else 0,
        shown=shown,
    )


def _times(steps: int, every: int) -> int:
    return steps // every + 1 if every else 0

"""What ``kedge plan`` does: what a run would take, before any weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kedge.lazy_import import heavy_imports
from kedge.waiting import waiting
from kedge.workflows.recipes import Recipe, read_recipe

if TYPE_CHECKING:
    from kedge.config import RunConfig


@dataclass(frozen=True)
class RunPlan:
    """What a run would take; printed, it is the lines.

    Attributes:
        config: of the run.
        lines: a fact each: model, prompts, samples, parameters, peak memory, time, downloads, disk.
    """

    config: RunConfig
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def plan(recipe: Recipe, *overrides: str, **changes: Any) -> RunPlan:
    """Say what a run would take, as ``kedge plan`` does; loads no weights.

    Args:
        recipe, overrides, changes: as for :func:`kedge.train`.

    Raises:
        ConfigError: naming the key and what to write instead.
        ValueError: for a model or prompts that cannot be.
    """
    config = read_recipe(recipe, overrides, changes)
    with waiting("counting and timing the operations of a step"), heavy_imports():
        from kedge.planning.plan import plan as plan_lines

        return RunPlan(config, tuple(plan_lines(config)))

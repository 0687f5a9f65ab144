"""What a recipe's algorithm takes with the recipe's model and batch, asked of the algorithm itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedge.config.schema import RunConfig

if TYPE_CHECKING:
    from kedge.algorithms.workload import Workload
    from kedge.policies.base import Backprop


def backprop_of(config: RunConfig) -> Backprop:
    """How its rollouts are computed."""
    from kedge.policies.base import Backprop

    return Backprop(
        last_steps=config.backprop.last_steps,
        random_depth=config.backprop.random_depth,
        checkpoint=config.backprop.checkpoint,
        offload=config.memory.offload_activations,
        paired=config.speed.paired_reference,
    )


def workload_of(config: RunConfig) -> Workload:
    """What a batch of its experience takes, on each process.

    Raises:
        ValueError: if the algorithm cannot form a batch of this size.
    """
    from kedge.algorithms.workload import workload

    return workload(
        config.algorithm.instance,
        batch_size=config.training.batch_size,
        accumulation=config.training.accumulation,
        steps=config.model.steps,
        backprop=backprop_of(config),
    )

"""What an optimizer step costs, before anything runs: network passes and reward queries, as the algorithm states them.

A pass is one call of the generator's network for one sample; going back counts as going forward. Classifier-free
guidance calls the network twice for a step. Autoencoder, text encoder and reward are left out: they are alike for all
methods.
"""

from __future__ import annotations

from dataclasses import dataclass

from kedge.config import RunConfig
from kedge.policies.families import network_calls


@dataclass(frozen=True)
class Cost:
    """Of one optimizer step, on average over a batch of experience.

    Attributes:
        passes: calls of the network, per sample and direction.
        queries: pictures that the reward scores.
        stated: whether the algorithm says what learning takes; if not, ``passes`` are those of sampling alone.
    """

    passes: float
    queries: float
    stated: bool = True


def step_cost(config: RunConfig) -> Cost:
    """The cost of one optimizer step of a run on one process."""
    from kedge.config.workload import workload_of

    work, model = workload_of(config), config.model
    passes = work.passes.total if work.passes else work.samples * model.steps
    calls = network_calls(model.kind, model.omega, model.parts)
    return Cost(calls * passes / work.updates, work.queries / work.updates, stated=work.passes is not None)


def steps_for(config: RunConfig, passes: float) -> int:
    """How many optimizer steps ``passes`` network passes buy; at least one.

    Raises:
        ValueError: if the algorithm does not say what it takes.
    """
    cost = step_cost(config)
    if not cost.stated:
        raise ValueError(
            f"algorithm {config.algorithm.name!r} does not say how many network passes it takes, so no budget of them "
            "can be shared out: give it a method workload (docs/extending.md, An algorithm)"
        )
    return max(1, int(passes / cost.passes))

"""What a batch of experience costs, as each algorithm states it: samples, queries, passes through the network.

Both methods are optional. ``workload`` is what plans and equal budgets are computed from; ``rehearse`` lets the plan
count the memory of an algorithm that backpropagates through more than single sampling steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kedge.algorithms.base import Algorithm, Context, Loss
from kedge.policies.base import Backprop


@dataclass(frozen=True)
class Passes:
    """Passes through the generator's network, each of one sample through one sampling step.

    Guidance that calls the network twice for a step is not counted here: it is the model's, not the algorithm's.
    The expected number, where it is random.

    Attributes:
        forward: with the adapters on, for sampling and for learning, recomputations included.
        backward: gradients that go back through one of these, or through one of the reference's.
        reference: forward with the adapters off.
    """

    forward: float
    backward: float
    reference: float = 0.0

    def __add__(self, other: Passes) -> Passes:
        return Passes(self.forward + other.forward, self.backward + other.backward, self.reference + other.reference)

    @property
    def total(self) -> float:
        """All of them: only the adapter is trained, so that a backward pass costs about as much as a forward pass."""
        return self.forward + self.backward + self.reference


@dataclass(frozen=True)
class Workload:
    """What one batch of experience takes, on each process.

    Attributes:
        samples: trajectories that are sampled.
        queries: images that the reward scores.
        updates: optimizer steps that are made of them.
        passes: through the network, sampling and learning together; None if they are unknown.
    """

    samples: int
    queries: int
    updates: int
    passes: Passes | None = None

    def batches(self, steps: int) -> int:
        """How many batches of experience reach ``steps`` optimizer steps; the last is used to its end."""
        return -(-steps // self.updates)


@runtime_checkable
class StatesWorkload(Protocol):
    """An algorithm that states the cost of a batch of experience."""

    def workload(self, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
        """The cost of one batch of experience with all of its optimizer steps, on each process.

        Args:
            batch_size: samples in one micro-batch.
            accumulation: micro-batches in one optimizer step.
            steps: K, the sampling steps.
            backprop: how its rollouts are computed, for an algorithm whose gradient goes back through them.
        """


@runtime_checkable
class Rehearses(Protocol):
    """An algorithm whose optimizer steps can be executed on tensors without values.

    The plan executes the first batch on the meta device and counts memory and operations. An algorithm whose
    ``updates`` never reads a value (no ``item()``, no branch on a tensor, no NumPy) needs one line:
    ``def rehearse(self, context): return self.updates(context)``. One that does, and that learns from single sampling
    steps as policy gradients do, needs none: its ``workload`` is enough.
    """

    def rehearse(self, context: Context) -> Iterator[Iterable[Loss]]:
        """As ``updates``, with a policy and a reward on the meta device, one micro-batch for each optimizer step.

        If the depth of a step is random, one optimizer step for each depth, all equally likely: the plan reports their
        mean cost and the largest memory.
        """


@runtime_checkable
class LearnsThrough(Protocol):
    """An algorithm whose gradient goes through another reward than the one that it maximises; it loads both."""

    @property
    def learns_through(self) -> str:
        """That reward's name. ``rehearse`` finds it in ``context.reward``."""


def workload(algorithm: Algorithm, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
    """The cost of a batch of experience as the algorithm states it; arguments of :meth:`StatesWorkload.workload`.

    An algorithm that states none is assumed to score fresh samples for every optimizer step; its passes are unknown.
    """
    if isinstance(algorithm, StatesWorkload):
        return algorithm.workload(batch_size, accumulation, steps, backprop)
    samples = batch_size * accumulation
    return Workload(samples, queries=samples, updates=1)

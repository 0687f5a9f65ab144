"""What a batch of experience takes, as each algorithm says itself: samples, queries, passes through the network.

All optional. With ``workload`` a run is planned, and budgets of algorithms are compared; with
``rehearse`` the memory of an algorithm that backpropagates through more than single sampling steps is known beforehand.
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
    Where chance decides, the expected number.

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
        """All of them: the network is frozen but for its adapter, so that a way back costs about a way forward."""
        return self.forward + self.backward + self.reference


@dataclass(frozen=True)
class Workload:
    """What one batch of experience takes, on each process.

    Attributes:
        samples: trajectories that are sampled.
        queries: images that the reward scores.
        updates: optimizer steps that are made of them.
        passes: through the network, sampling and learning together; None where nobody says.
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
    """An algorithm that says what a batch of experience takes, so that a run can be planned and budgets compared."""

    def workload(self, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
        """What one item of experience takes, all of its optimizer steps together, on each process.

        Args:
            batch_size: samples in one micro-batch.
            accumulation: micro-batches in one optimizer step.
            steps: K, the sampling steps.
            backprop: how its rollouts are computed, for an algorithm whose gradient goes back through them.
        """


@runtime_checkable
class Rehearses(Protocol):
    """An algorithm whose optimizer steps can be gone through on tensors without values.

    Memory and time of a run are planned by going through its first batch on the meta device. An algorithm whose
    ``updates`` never looks at a value (no ``item()``, no branch on a tensor, no NumPy) needs one line:
    ``def rehearse(self, context): return self.updates(context)``. One that does look, and learns from single sampling
    steps as policy gradients do, needs none: its passes tell.
    """

    def rehearse(self, context: Context) -> Iterator[Iterable[Loss]]:
        """As ``updates``, with a policy and a reward on the meta device, one micro-batch for each optimizer step.

        Where chance decides how far a step goes, one optimizer step for each way, all as likely: their mean is told,
        and the worst one's memory.
        """


@runtime_checkable
class LearnsThrough(Protocol):
    """An algorithm whose gradient goes through another reward than the one that it maximises; it loads both."""

    @property
    def learns_through(self) -> str:
        """That reward's name. ``rehearse`` finds it in ``context.reward``."""


def workload(algorithm: Algorithm, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
    """The algorithm's own account of a batch of experience; arguments as :meth:`StatesWorkload.workload` has them.

    Of one that gives none it is taken that every optimizer step has fresh samples, all scored; its passes are unknown.
    """
    if isinstance(algorithm, StatesWorkload):
        return algorithm.workload(batch_size, accumulation, steps, backprop)
    samples = batch_size * accumulation
    return Workload(samples, queries=samples, updates=1)

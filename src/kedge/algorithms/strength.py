"""Is β large enough to matter, and small enough to learn? The penalty of a fixed drift, in deviations of the reward.

β converts units of the divergence into units of the reward. A β that was tuned for KL is some two thousand times too
small for a Hellinger distance per dimension of 512 latent dimensions: nothing holds the model, and all other numbers
look as usual. So the penalty of a path KL of :data:`NATS` nats is compared with how much the reward varies; before the
first picture, for a β that nobody chose for this reward, with the penalty of KL at its usual β.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from kedge.algorithms.base import Context
from kedge.divergence_strength import expected
from kedge.gaussian import Reduction
from kedge.policies.base import Trajectory

if TYPE_CHECKING:
    from torch import Tensor

NATS = 10.0
LEAST = 3e-4  # of the penalty, in standard deviations: below it, a gain of one of them pays for 30,000 nats of drift
MOST = 3.0  # above it, a gain of one of them pays for 3 nats or less
APART = 100.0  # times KL's penalty at its usual β, or one part in as many
USUAL = 0.1  # the paper scales β so that the penalty is an order of magnitude below the reward (page 5)
SCORES = 16  # of pictures, before the spread of the reward is taken from them
STATE = "first_scores"  # key in Context.state: the scores so far; None once they have been checked


def divergence_at(
    nats: float, name: str, stds: Sequence[float], dimensions: int, reduction: Reduction | None = None
) -> float:
    """Σ_k D_f where the path KL is ``nats``, spread evenly over the steps that draw noise and over dimensions.

    Args:
        name: of the divergence.
        stds: of those steps.
        dimensions: D of the latents.
        reduction: None takes the divergence's own.
    """
    total = 0.0
    for std in stds:
        total += expected(name, 2 * nats / len(stds), dimensions, reduction, std=std)
    return total


@runtime_checkable
class Priced(Protocol):
    """An algorithm whose β weighs a divergence."""

    def price(self, stds: Sequence[float], dimensions: int) -> float | None:
        """The penalty of :data:`NATS` nats, in units of :attr:`unit`; None where there is no penalty.

        Args:
            stds: of the steps that draw noise.
            dimensions: D of the latents.
        """

    @property
    def unit(self) -> float:
        """The unit of β, in the reward's own numbers."""

    @property
    def usual(self) -> float | None:
        """The penalty of :data:`NATS` nats of KL at its usual β, if no β was given; None if one was."""

    def idle(self, steps: int) -> bool:
        """Whether β weighs nothing, because no step of a rollout of K has a divergence."""


class StrengthCheck:
    """Warns once in a run, as soon as :data:`SCORES` pictures have been scored, if β holds next to nothing or too much.

    A new one is made for each batch of experience; the scores so far are in ``context.state``. Values are read when the
    batch is over, so that no step waits for the device.
    """

    def __init__(self, context: Context, algorithm: Priced):
        self._context, self._algorithm = context, algorithm
        self._scores: list[Tensor] = []
        self._stds: list[Tensor] = []
        self._dimensions = 0

    def observe(self, trajectory: Trajectory, rewards: Tensor) -> None:
        """Record the scores of some of the batch's samples, ``[b]``."""
        if self._context.state.get(STATE, []) is not None and not rewards.is_meta:
            self._scores.append(rewards.detach())
            self._stds = [transition.std for transition in trajectory.transitions]
            self._dimensions = trajectory.x0[0].numel()

    def close(self) -> None:
        """End the batch: check β if there are enough scores."""
        if not self._scores:
            return
        scores: list[float] = self._context.state.setdefault(STATE, [])
        for rewards in self._scores:
            scores += rewards.double().tolist()
        if len(scores) < SCORES:
            return
        self._context.state[STATE] = None
        noisy = list(filter(None, map(float, self._stds)))
        price, spread = self._algorithm.price(noisy, self._dimensions), statistics.stdev(scores)
        if price is None or not spread > 0:
            return
        if sentence := verdict(price, self._algorithm.unit, spread, len(scores)):
            self._context.say(sentence)


def verdict(price: float, unit: float, spread: float, count: int = 0) -> str | None:
    """The warning for a β that is too small or too large; None for one that is neither.

    Args:
        price: the penalty of :data:`NATS` nats, in units of ``unit``.
        unit: the unit of β, in the reward's own numbers.
        spread: the reward's standard deviation, in its own numbers.
        count: on how many scores the spread was measured; 0 if it was given.
    """
    share = price * unit / spread
    if LEAST <= share <= MOST:
        return None
    source = f", measured on the first {count} pictures" if count else ""
    factor = f"{share / USUAL:.2g} times as small" if share > MOST else "larger"
    if 0 < share < LEAST:
        factor = f"{USUAL / share:.2g} times as large"
    much = "next to nothing" if share < LEAST else "so much that little can be learnt"
    return (
        f"β holds {much}: {NATS:g} nats away from the base cost {share:.1g} standard deviations of the reward "
        f"({spread:.3g}{source}). A tenth of one takes an algorithm.beta {factor}; "
        f"algorithm.target={{nats: {NATS:g}}} finds β itself. What holds with one divergence may be nothing, or too "
        "much, with another"
    )


def verdict_at_load(algorithm: Priced, price: float) -> str | None:
    """The warning that needs no pictures; None if there is none.

    Args:
        price: the penalty of :data:`NATS` nats, in units of β.
    """
    if algorithm.unit != 1:  # a standard deviation of the reward, as the recipe says
        return verdict(price, algorithm.unit, spread=algorithm.unit)
    return None if algorithm.usual is None else _beside_kl(price / algorithm.usual)


def _beside_kl(times: float) -> str | None:
    """The warning for a penalty that is so many times KL's at its usual β; None if that is near 1."""
    if 1 / APART <= times <= APART:
        return None
    more = f"{times:.2g} times" if times > 1 else f"one part in {1 / times:.2g} of"
    change = f"{times:.2g} times as small" if times > 1 else f"{1 / times:.2g} times as large"
    return (
        f"algorithm.beta was not chosen for this divergence: {NATS:g} nats away from the base cost {more} what they do "
        f"with kl at its usual β. An algorithm.beta {change} holds as much; algorithm.target={{nats: {NATS:g}}} finds "
        "it itself"
    )

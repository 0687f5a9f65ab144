"""Hold the distance from the base model at a target κ: β is learnt during training, by dual ascent on ln β.

κ is a path KL in nats or an RMS change of x̂_0 in latent standard deviations (:mod:`kedge.policies.distance`). A β that
was tuned for one schedule, size or reward leads to another distance with the next; κ is the distance itself. The rule
asks only whether the model is too far or not far enough, so it is the same for every divergence, bounded ones included.

With ``stages`` no κ has to be chosen: it starts at 2 nats and doubles each time that it has been held for a while, and
the judges that watch the run decide when to stop (``watch.guard: best``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from kedge.algorithms.base import Context
from kedge.algorithms.dual_ascent import DualAscent, Multiplier, above, scale_of
from kedge.divergences import Divergence
from kedge.gaussian import Gaussian
from kedge.no_grad import no_grad
from kedge.policies.base import Policy, PredictingPolicy, Trajectory

if TYPE_CHECKING:
    from torch import Tensor

Anchor = Literal["auto"]
FIRST_NATS = 2.0  # the first stage's κ
STAGE = 10  # batches of experience that a stage is held before κ doubles
NEAR = 0.8  # a distance of at least this share of κ counts as held
SHARE = 0.5  # the first β makes the penalty at κ this share of the reward's standard deviation
STATE = "target"  # of Context.state


@dataclass(frozen=True)
class Target:
    """The distance from the base that training is to hold; give one of the two.

    Attributes:
        nats: path KL, summed over steps K, …, 2; its meaning does not depend on the divergence that β weighs.
        rms: RMS change of x̂_0 over all steps, in standard deviations of the latent; it depends neither on the noise
            schedule nor on the number of dimensions.
    """

    nats: float | None = None
    rms: float | None = None

    def __post_init__(self) -> None:
        if (self.nats is None) == (self.rms is None):
            raise ValueError("target takes one of nats and rms: {nats: 8}, or {rms: 0.1}")
        if self.distance <= 0:
            raise ValueError(f"target.{self.unit} must be above 0, not {self.distance}")

    @property
    def unit(self) -> str:
        """``nats`` or ``rms``."""
        return "nats" if self.rms is None else "rms"

    @property
    def distance(self) -> float:
        """κ, in that unit."""
        return (self.nats if self.rms is None else self.rms) or 0.0

    def beside(self, steps: int) -> range:
        """The steps k at which measuring the distance needs the reference."""
        return range(steps, 1 if self.rms is None else 0, -1)

    @no_grad
    def measure(self, policy: Policy, trajectory: Trajectory) -> Tensor:
        """The distance of each trajectory, ``[B]``; of a path KL with references at some steps only, an estimate.

        Raises:
            ValueError: if the policy does not provide what ``rms`` needs.
        """
        if self.rms is None:
            terms = []
            for k, reference in trajectory.references.items():
                if k > 1:
                    terms.append(trajectory.step(k)[2].squared_distance(reference, "sum") / 2)
            return torch.stack(terms).mean(0) * (len(trajectory.transitions) - 1)
        squares = []
        for k in self.beside(len(trajectory.transitions)):
            x, _, p = trajectory.step(k)
            if k in trajectory.references:
                q = trajectory.references[k]
            else:
                with policy.reference():
                    q = policy.transition(x, k, trajectory.cond)
            squares.append(((p.mean - q.mean) / x0_weight(policy, k)).square().flatten(1).mean(1))
        return torch.stack(squares).mean(0).sqrt()


@dataclass(frozen=True, kw_only=True)
class Anchored:
    """The settings of all algorithms that can hold a distance.

    Attributes:
        target: how far to go: {nats: 8}, a path KL, or {rms: 0.1}, the RMS change of the predicted pictures in latent
            standard deviations. The weight of the divergence is then found while it trains; null leaves it as it is.
        anchor: auto looks for that distance too: from 2 nats it doubles, until judges stop it (watch.guard: best).
    """

    target: Target | None = None
    anchor: Anchor | None = None

    @property
    def goal(self) -> Target | None:
        """The distance that is held, if one is."""
        return Target(nats=FIRST_NATS) if self.anchor else self.target

    def check_goal(self) -> None:
        """Raises ValueError for an unknown ``anchor``, or one beside a ``target``."""
        if self.anchor not in (None, "auto"):
            raise ValueError(f"anchor must be auto or null, not {self.anchor!r}")
        if self.anchor and self.target:
            raise ValueError("anchor: auto looks for the distance itself: leave out target, or anchor")

    def hold(self, context: Context, beta: float, divergence: Divergence) -> Hold:
        """β for the next batch of experience; arguments as :class:`Hold` has them."""
        return Hold(context, self.goal, beta, divergence, stages=self.anchor == "auto")

    def measured(self, samples: int, steps: int) -> int:
        """Forward passes of the reference that measuring the distance adds where the algorithm makes none."""
        return samples * len(self.goal.beside(steps)) if self.goal else 0


def check_start(name: str, weight: float, goal: Target | None) -> None:
    """Raises ValueError if the weight ``name`` is 0, from where no search can start."""
    if goal is not None and weight == 0:
        raise ValueError(f"{name} is where the search for β starts, and must be above 0 with target or anchor")


class Hold:
    """β of one batch of experience and, once that has been measured, of the next. Its state is in ``context.state``.

    Args:
        target: what to hold; None leaves β at ``beta``.
        beta: where β starts; 0 derives it from the first batch, in which nothing has moved yet and β stays 0.
        divergence: the one that β weighs.
        stages: let κ double each time that it was held for :data:`STAGE` batches.

    Attributes:
        beta: β of this batch.
    """

    ascent = DualAscent()

    def __init__(
        self, context: Context, target: Target | None, beta: float, divergence: Divergence, *, stages: bool = False
    ):
        self._context, self.target, self._divergence, self._stages = context, target, divergence, stages
        self._multiplier: Multiplier | None = None
        self._distance, self._held = target.distance if target else 0.0, 0
        if target and STATE in context.state:
            state = context.state[STATE]
            self._multiplier = Multiplier(**state["multiplier"])
            self._distance, self._held = state["distance"], state["held"]
        elif target and beta:
            self._multiplier = self.ascent.start(beta)
        self.beta = self._multiplier.value if self._multiplier else beta
        self._samples: list[Tensor] = []  # [b, 2] each: distance and reward
        self._stds: Mapping[int, Tensor] = {}

    def observe_trajectory(self, trajectory: Trajectory, rewards: Tensor) -> dict[str, Tensor | float]:
        """Measure a trajectory that has its references; returns what to log."""
        if self.target is None:
            return {}
        stds = {}
        for k in range(len(trajectory.transitions), 1, -1):
            stds[k] = trajectory.step(k)[2].std
        return self.observe(self.target.measure(self._context.policy, trajectory), rewards, stds)

    def observe(self, distance: Tensor, rewards: Tensor, stds: Mapping[int, Tensor]) -> dict[str, Tensor | float]:
        """Record some of the batch's samples; returns what to log.

        Args:
            distance, rewards: ``[b]``.
            stds: by k, of the steps that draw noise.
        """
        assert self.target is not None
        self._samples.append(torch.stack([distance.double(), rewards.detach().double().to(distance.device)], dim=1))
        self._stds = stds
        unit = self.target.unit
        return {"beta": self.beta, f"distance_{unit}": distance, f"target_{unit}": self._distance}

    def close(self) -> None:
        """End the batch: update β from the samples of all processes."""
        if self.target is None:
            return
        everyone = torch.tensor(self._context.gather(torch.cat(self._samples).tolist()), dtype=torch.float64)
        distance = float(everyone[:, 0].mean())
        if self._multiplier is None:
            self._multiplier = self.ascent.start(SHARE * scale_of(everyone[:, 1]) / self._at_target())
        else:
            self._multiplier = self.ascent.step(self._multiplier, above(distance, self._distance))
        self._held += int(distance >= NEAR * self._distance)
        if self._stages and self._held >= STAGE:
            self._distance, self._held = 2 * self._distance, 0
        self._context.state[STATE] = self._state()
        self.beta = self._multiplier.value

    def _state(self) -> dict[str, Any]:
        assert self._multiplier is not None
        return {"multiplier": asdict(self._multiplier), "distance": self._distance, "held": self._held}

    @no_grad
    def _at_target(self) -> float:
        """Σ_k of the divergence at a drift of κ that is spread evenly over the steps; > 0."""
        assert self.target is not None
        policy, total = self._context.policy, 0.0
        zero = torch.zeros((1, *policy.latent_shape), dtype=torch.float64)
        for k, std in self._stds.items():
            std = std.double().cpu()
            if self.target.rms is None:  # δ²/2 = κ / (K − 1)
                apart = std * math.sqrt(2 * self.target.distance / len(self._stds) / zero.numel())
            else:
                apart = torch.as_tensor(self.target.distance * x0_weight(policy, k))
            total += float(self._divergence(Gaussian(zero + apart, std), Gaussian(zero, std)))
        return total


def x0_weight(policy: Policy, k: int) -> float:
    """∂mean / ∂x̂_0 of step k.

    Raises:
        ValueError: if the policy does not say.
    """
    weight = policy.x0_weight(k) if isinstance(policy, PredictingPolicy) else None
    if weight is None:
        raise ValueError("this model does not say what its steps make of x̂_0: set algorithm.target={nats: …}")
    return weight

"""ROCM: reward maximisation by backpropagation through the whole trajectory, anchored to the reference.

Algorithm 2 (page 1 of the supplement), whose lines are named beside the code. The objective that is maximised is

    E[ R(x_0, c) − β Σ_{k=2..K} D_f(p_k^θ ‖ p_k^ref) ],    x_k on θ's own trajectory, noise fixed.

The paper's Eq. 8 and 10 print + β, and Eq. 9 prints f_ref for f_θ; Algorithm 2 is followed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from kedge.algorithms.base import Context, Loss, Needs
from kedge.algorithms.strength import NATS, StrengthCheck, divergence_at
from kedge.algorithms.target import Anchored, Hold
from kedge.algorithms.workload import Passes, Workload
from kedge.divergences import make_divergence
from kedge.gaussian import Gaussian, Reduction
from kedge.policies.base import Backprop, Policy, PredictingPolicy, ReferenceSteps, Trajectory, rollout

if TYPE_CHECKING:
    from torch import Tensor

# Table 2. They fit the reductions that the divergences default to.
PAPER_BETA = {"none": 0.0, "kl": 1e-4, "reverse_kl": 1e-4, "hellinger": 0.5, "js": 2000.0, "fisher": 5e-5}
PAPER_BETA["js_sampled"] = PAPER_BETA["js"]
WITHOUT_NOISE = (
    "Set model.eta or model.renoise (whichever the model takes) above 0; or hold the last step alone to the base, with "
    "algorithm.reference_steps=0 and algorithm.last_step_std above 0; or algorithm.divergence=none"
)


@dataclass(frozen=True)
class ROCM(Anchored):
    """Direct reward optimisation with a divergence to the model that training started from.

    Attributes:
        divergence: D_f: none, kl, hellinger, js, js_sampled, fisher, chi2, tv, alpha, or module:Object.
        beta: β, the weight of the divergence; null takes the paper's Table 2. The paper scales it so that the penalty
            is an order of magnitude below the reward. 0 measures the divergence without using it. With target or
            anchor it is where the search for β starts; null then lets the first batch say.
        beta_unit: what β counts in, in the reward's own numbers. The standard deviation of the base model's scores
            makes β comparable between rewards; 1 leaves it in the reward's own numbers, as Table 2 has it.
        reduction: over latent dimensions: `sum`, the true divergence, or `mean`, per dimension; null takes the
            divergence's own (kl and fisher sum, hellinger and js mean), which Table 2 assumes.
        reference_gradient: x_k depends on θ, so the gradient also flows through the reference's mean at x_k: `exact`.
            `detached` leaves that path out: less memory, a biased gradient.
        reference_steps: estimate the divergence from this many of its K − 1 terms, drawn at random for each
            micro-batch: less memory and time, an unbiased but noisier gradient; null takes all of them, 0 none but
            the last step's.
        last_step_std: s0; hold the last step, which draws nothing, to the base as well, by the divergence of
            N(x̂_0, s0²) and N(x̂_0_ref, s0²). In latent standard deviations; 0, as in the paper, does not.
    """

    needs: ClassVar[Needs] = Needs(differentiable_reward=True, reference=True)

    divergence: str = "kl"
    beta: float | None = None
    beta_unit: float = 1.0
    reduction: Reduction | None = None
    reference_gradient: Literal["exact", "detached"] = "exact"
    reference_steps: int | None = None
    last_step_std: float = 0.0

    def __post_init__(self) -> None:
        make_divergence(self.divergence, self.reduction)  # refuses an unknown name now
        self.check_goal()
        if self.beta is None and not self.goal and self.divergence not in PAPER_BETA:
            raise ValueError(f"beta is required: the paper gives none for divergence {self.divergence!r}")
        if self.beta is not None and self.beta < 0:
            raise ValueError(f"beta must be 0 or more, not {self.beta}: the divergence is subtracted from the reward")
        if not (self.beta_unit > 0 and math.isfinite(self.beta_unit)):
            raise ValueError(f"beta_unit must be above 0, not {self.beta_unit}: a standard deviation of the reward")
        if self.beta is None and self.beta_unit != 1:
            raise ValueError(
                "beta_unit needs a beta: those of the paper's Table 2 are in the reward's own numbers. Give beta, or "
                "leave beta_unit at 1"
            )
        if self.reference_gradient not in ("exact", "detached"):
            raise ValueError(f"reference_gradient must be exact or detached, not {self.reference_gradient!r}")
        if self.last_step_std < 0:
            raise ValueError(f"last_step_std must be 0 (off) or more, not {self.last_step_std}")
        least = 0 if self.last_step_std else 1
        if self.reference_steps is not None and self.reference_steps < least:
            raise ValueError(
                f"reference_steps must be 1 or more (0 with last_step_std), or null for all, not {self.reference_steps}"
            )

    def check_goal(self) -> None:
        """Raises ValueError for a goal that these settings cannot hold."""
        super().check_goal()
        if self.goal is None:
            return
        if self.divergence == "none":
            raise ValueError("target and anchor hold a distance by the weight of a divergence: set divergence to kl")
        if self.beta == 0:
            raise ValueError(
                "beta is where the search for β starts, and must be above 0 with target or anchor, or null"
            )
        if self.reference_steps == 0 or (self.reference_steps and self.goal.unit == "rms"):
            raise ValueError("the distance of target and anchor is measured at every step: leave out reference_steps")

    @property
    def weight(self) -> float:
        """β in the reward's own numbers, from Table 2 if it was not given; with a goal, where it starts, or 0."""
        if self.beta is None:
            return 0.0 if self.goal else PAPER_BETA[self.divergence]
        return self.beta * self.beta_unit

    @property
    def unit(self) -> float:
        """The unit of β, in the reward's own numbers."""
        return self.beta_unit

    def price(self, stds: Sequence[float], dimensions: int) -> float | None:
        """The penalty β Σ D of a path KL of 10 nats, in units of :attr:`unit`.

        None without noise, without a β, or where β is searched for.

        Args:
            stds: of the steps that draw noise.
            dimensions: D of the latents.
        """
        held = [*stds, self.last_step_std] if self._holds_last_step else list(stds)
        if self.divergence == "none" or self.goal or not self.weight or not held:
            return None
        cost = divergence_at(NATS, self.divergence, held, dimensions=dimensions, reduction=self.reduction)
        return self.weight / self.beta_unit * cost

    @property
    def usual(self) -> float | None:
        """What 10 nats cost with KL by Table 2, where β is Table 2's and nobody's choice; None where it was given."""
        return PAPER_BETA["kl"] * NATS if self.beta is None else None

    @property
    def exact(self) -> bool:
        """Whether the gradient flows through the reference; with β = 0 the divergence is measured only."""
        return self.reference_gradient == "exact" and (self.weight > 0 or self.goal is not None)

    @property
    def needs_noise(self) -> bool:
        """Whether it takes the divergence of steps that draw noise, which a deterministic sampler has not."""
        return self.divergence != "none" and self.reference_steps != 0

    def idle(self, steps: int) -> bool:
        """Whether a divergence of noisy steps is asked for, and no step of a rollout of K has any."""
        return self.needs_noise and not self._terms(steps) and not self._holds_last_step

    @property
    def _holds_last_step(self) -> bool:
        return self.divergence != "none" and self.last_step_std > 0

    def workload(self, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
        """Fresh trajectories for every step, with the gradient through the last ``backprop.last_steps`` of them."""
        samples = batch_size * accumulation
        passes = Passes(0, 0)
        for probability, depth in backprop.depths(steps):
            passes += self._passes(samples * probability, steps, depth)
        return Workload(samples, queries=samples, updates=1, passes=passes)

    def _passes(self, samples: float, steps: int, backprop: Backprop) -> Passes:
        last_steps = steps if backprop.last_steps is None else min(backprop.last_steps, steps)
        terms, last = self._terms(steps), int(self._holds_last_step)
        # The reference passes a gradient on to x_k where the step before made x_k with one; paired, it always does.
        differentiated = max(0, last_steps - (1 if backprop.paired else 2)) if self.exact else 0
        through = terms * differentiated / max(1, steps - 1)
        through += last * int(self.exact and last_steps >= (1 if backprop.paired else 2))
        terms += last or int(self.goal is not None and self.goal.unit == "rms")
        again = 1 if backprop.checkpoint else 0
        return Passes(
            forward=samples * (steps + again * last_steps),
            backward=samples * (last_steps + through),
            reference=samples * (terms + again * through),
        )

    def rehearse(self, context: Context) -> Iterator[Iterable[Loss]]:
        """The step itself: nothing in it depends on a value."""
        fixed = self if self.goal is None else replace(self, beta=1.0, target=None, anchor=None)
        return fixed.updates(context)

    def updates(self, context: Context) -> Iterator[Iterable[Loss]]:
        """One optimizer step: ``accumulation`` micro-batches of fresh trajectories."""
        if context.backprop.last_steps == 0:
            raise ValueError("rocm learns through the trajectory: backprop.last_steps must be 1 or more, or null")
        divergence = make_divergence(self.divergence, self.reduction)
        hold, check = self.hold(context, self.weight, divergence), StrengthCheck(context, self)
        # Lines 5 to 14, a micro-batch at a time.
        yield (self._loss(context, hold, check) for _ in range(context.accumulation))
        hold.close()
        check.close()

    def _loss(self, context: Context, hold: Hold, check: StrengthCheck) -> Loss:
        prompts = context.prompts.take(context.batch_size)  # line 6: conditions c_i
        noise = context.noise(len(prompts))  # line 8: ε^(i) ~ N(0, I)
        reward, divergence, trajectory = self._walk(context, prompts, noise, hold.beta)
        check.observe(trajectory, reward)
        objective = (reward - hold.beta * divergence).mean()  # line 13: 1/B Σ_i [R_i − λ D_i], Eq. (10) with − for +
        return Loss(
            -objective / context.accumulation,
            {
                "reward": reward.detach(),
                "divergence": divergence.detach(),
                "penalty": hold.beta * divergence.detach(),
                **hold.observe_trajectory(trajectory, reward.detach()),
            },
        )

    def evaluate(self, context: Context, prompts: Sequence[str], noise: Tensor) -> tuple[Tensor, Tensor]:
        """R(x_0, c) and Σ_{k=2..K} D_f for given noise ``[K, B, …]``: each ``[B]``, with graph."""
        reward, divergence, _ = self._walk(context, prompts, noise, self.weight)
        return reward, divergence

    def _walk(
        self, context: Context, prompts: Sequence[str], noise: Tensor, beta: float
    ) -> tuple[Tensor, Tensor, Trajectory]:
        policy = context.policy
        steps = self._steps(context)
        backprop = context.backprop.drawn(policy.steps, context.generator)
        with backprop.storage():
            # Line 9: {x_k} = G(θ, ε, c), and the reference's step at the same x_k.
            beside = ReferenceSteps([*steps, 1] if self._holds_last_step else steps, self.exact and beta > 0)
            trajectory = rollout(
                policy, context.encode(prompts), noise=noise, backprop=backprop, reference_steps=beside
            )
            reward = context.reward(policy.decode(trajectory.x0), prompts)  # line 10: R_i = R(x_0, c_i)
            with nullcontext() if beta else torch.no_grad():
                divergence = self._divergence(trajectory, steps, torch.zeros_like(reward))  # line 11: D_i
                return reward, divergence + self._last_divergence(policy, trajectory), trajectory

    def _terms(self, steps: int) -> int:
        """How many of the K − 1 divergences along a trajectory are computed."""
        most = steps - 1 if self.reference_steps is None else self.reference_steps
        return 0 if self.divergence == "none" else min(most, steps - 1)

    def _steps(self, context: Context) -> list[int]:
        """At which k the divergence is computed: K, …, 2, or a random subset of ``reference_steps`` of them."""
        every = list(range(context.policy.steps, 1, -1)) if self.divergence != "none" else []
        if self.reference_steps is None or self.reference_steps >= len(every):
            return every
        drawn = torch.randperm(len(every), generator=context.generator)[: self.reference_steps]
        return [every[i] for i in sorted(drawn.tolist())]

    def _divergence(self, trajectory: Trajectory, steps: Sequence[int], none: Tensor) -> Tensor:
        """Σ_{k=2..K} D_f(p_k^θ ‖ p_k^ref), ``[B]``, or its unbiased estimate from a subset of the terms."""
        if not steps:
            return none
        divergence, terms = make_divergence(self.divergence, self.reduction), []
        for k in steps:
            p = trajectory.step(k)[2]
            if p.deterministic:
                raise ValueError(f"step {k} adds no noise, so it has no divergence. {WITHOUT_NOISE}")
            terms.append(divergence(p, trajectory.references[k]))  # D_f(p_k(·|θ, x_k, c) ‖ p_k(·|θ_ref, x_k, c))
        # Each term is drawn with probability n / (K − 1): weighing by its inverse makes the estimate unbiased.
        return torch.stack(terms).sum(0) * ((len(trajectory.transitions) - 1) / len(steps))

    def _last_divergence(self, policy: Policy, trajectory: Trajectory) -> Tensor | float:
        """D(N(x̂_0, s0²) ‖ N(x̂_0_ref, s0²)) at k = 1, ``[B]``, as if the last step drew noise of std s0."""
        if not self._holds_last_step:
            return 0.0
        p, q = trajectory.step(1)[2], trajectory.references[1]
        # The means differ by weight · (x̂_0 − x̂_0_ref). Where the weight is unknown, the means themselves are compared.
        weight = policy.x0_weight(1) if isinstance(policy, PredictingPolicy) else None
        std = torch.tensor(self.last_step_std, dtype=p.mean.dtype)
        predicted, reference = (Gaussian(step.mean / (weight or 1.0), std) for step in (p, q))
        return make_divergence(self.divergence, self.reduction)(predicted, reference)

"""Gradients for black-box rewards: along the path for what a surrogate explains, by the score function for the rest.

R is any reward, S a differentiable surrogate, x_0 = G(θ, ε), sg stops gradients. Maximised is E R − β Σ_k D_k, along

    g = η ∇_θ S(G(θ, ε))                                                     through all K steps, as ROCM
      + (R − η S − b) Σ_{k=K..2} ∇_θ log p_θ(sg x_{k-1} | sg x_k, c)         the score function of the residual
      − β ∇_θ Σ_k D_f(p_k^θ ‖ p_k^ref)                                       exact, as ROCM

(Grathwohl et al. 2018, "Backpropagation through the void", gives such estimators for policies). η and b are fitted per
prompt to earlier pictures only (:mod:`kedge.algorithms.control_variate`), so g has the expectation of the score
function alone plus what S knows of the last, deterministic step, whatever S is; a good S makes its variance (1 − ρ²) of
it. As ρ² falls below ``least_correlation``, η becomes 0 and this is a policy gradient with a baseline, PPO's with
ratio 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch

from kedge.algorithms.base import Context, Loss, Needs
from kedge.algorithms.checks import check_positive
from kedge.algorithms.control_variate import Explained, explain, remember
from kedge.algorithms.rocm import ROCM
from kedge.algorithms.scoring import score
from kedge.algorithms.strength import StrengthCheck
from kedge.algorithms.surrogate import RIDGE, RidgeSurrogate, Surrogate, frozen_reward
from kedge.algorithms.target import Hold
from kedge.algorithms.workload import Passes, Workload
from kedge.divergences import make_divergence
from kedge.policies.base import Backprop, Trajectory
from kedge.rewards import describe

if TYPE_CHECKING:
    from torch import Tensor

STATE = "surrogate"  # of Context.state


@dataclass(frozen=True)
class Hybrid(ROCM):
    """ROCM for rewards without a gradient, by a surrogate that has one. divergence, beta, target … are ROCM's.

    Attributes:
        surrogate: S: a differentiable reward (compressibility_proxy for compressibility), a sum of such, or
            ridge(REWARD): a ridge regression on the frozen image features of REWARD (clipscore, pickscore), fitted to
            the policy's own pictures.
        buffer_size: how many earlier pictures of each prompt η and b are fitted to.
        min_count: a prompt with fewer takes the slope of all prompts together.
        least_correlation: ρ² within prompts below which S is left out.
    """

    needs: ClassVar[Needs] = Needs(reference=True, noise=True, single_step=True)

    surrogate: str = "compressibility_proxy"
    buffer_size: int = 256
    min_count: int = 16
    least_correlation: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "buffer_size", "min_count")
        if self.min_count > self.buffer_size:
            raise ValueError(
                f"min_count={self.min_count} of a buffer_size of {self.buffer_size} is never reached: no prompt would "
                "have a slope of its own"
            )
        if not 0 <= self.least_correlation <= 1:
            raise ValueError(f"least_correlation is a ρ², from 0 to 1, not {self.least_correlation}")
        name = self.learns_through
        if not describe(name).differentiable:
            raise ValueError(f"surrogate {name!r} has no gradient: kedge doctor lists the rewards that have one")

    @property
    def surrogate_reward(self) -> str | None:
        """The reward that S is; None for a ridge regression."""
        return None if self.surrogate.startswith(RIDGE) else self.surrogate

    @property
    def learns_through(self) -> str:
        """The reward that S is, or whose features it is a regression on."""
        return self.surrogate_reward or RidgeSurrogate.reward_of(self.surrogate)

    def workload(self, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
        """ROCM's, and each step but the last once more, alone, for its log-probability."""
        work = super().workload(batch_size, accumulation, steps, backprop)
        assert work.passes is not None
        scored = work.samples * (steps - 1)
        passes = Passes(work.passes.forward + scored, work.passes.backward + scored, work.passes.reference)
        return replace(work, passes=passes)

    def rehearse(self, context: Context) -> Iterator[Iterable[Loss]]:
        """Along the path, through S, then step by step; η and b do not change what that costs."""
        yield self._rehearsed(context)

    def _rehearsed(self, context: Context) -> Iterator[Loss]:
        prompts = context.prompts.take(context.batch_size)
        beta = 1.0 if self.goal else self.weight
        values, divergence, trajectory = self._walk(context, prompts, context.noise(len(prompts)), beta)
        yield Loss(-(values - beta * divergence).mean())
        yield from self._scores(context, trajectory, torch.zeros_like(values))

    def updates(self, context: Context) -> Iterator[Iterable[Loss]]:
        """One optimizer step: ``accumulation`` micro-batches, each first along the path, then step by step."""
        if context.backprop.last_steps == 0:
            raise ValueError("hybrid learns through the trajectory: backprop.last_steps must be 1 or more, or null")
        hold = self.hold(context, self.weight, make_divergence(self.divergence, self.reduction))
        check = StrengthCheck(context, self)
        surrogate = self._load(context)
        news: list[tuple[str, float, float]] = []
        yield self._losses(context, hold, check=check, surrogate=surrogate, news=news)
        hold.close()
        check.close()
        everyone = context.gather(news)
        context.state[STATE] = remember(context.state.get(STATE, {}), everyone, self.buffer_size)
        surrogate.close(context)

    def _losses(
        self,
        context: Context,
        hold: Hold,
        check: StrengthCheck,
        surrogate: Surrogate,
        news: list[tuple[str, float, float]],
    ) -> Iterator[Loss]:
        pairs = context.state.get(STATE, {})
        for _ in range(context.accumulation):
            prompts = context.prompts.take(context.batch_size)
            fits = []
            for prompt in prompts:
                fits.append(explain(pairs, prompt, min_count=self.min_count, least=self.least_correlation))
            lent = replace(context, reward=surrogate)
            values, divergence, trajectory = self._walk(lent, prompts, context.noise(len(prompts)), hold.beta)
            rewards = score(context.reward, surrogate.images, prompts).to(values.device)
            slopes = _column(fits, "slope", values)
            path = slopes * values - hold.beta * divergence  # η S − β Σ D
            news += zip(prompts, rewards.tolist(), values.detach().double().tolist(), strict=True)
            surrogate.observe(rewards)
            check.observe(trajectory, rewards)
            baseline = _column(fits, "baseline", values) if pairs else without_own(rewards)
            residual = rewards - slopes * values.detach() - baseline
            yield Loss(
                -path.mean() / context.accumulation,
                {
                    "reward": rewards,
                    "surrogate": values.detach(),
                    "divergence": divergence.detach(),
                    "penalty": hold.beta * divergence.detach(),
                    "residual": residual.abs(),
                    "slope": slopes,
                    "correlation": fits[0].correlation,
                    **hold.observe_trajectory(trajectory, rewards),
                },
            )
            yield from self._scores(context, trajectory, residual)

    def _scores(self, context: Context, trajectory: Trajectory, residual: Tensor) -> Iterator[Loss]:
        """−(R − η S − b) log p_θ(x_{k-1} | x_k), a step at a time: one step's graph is held at once."""
        for k in range(context.policy.steps, 1, -1):
            x, after, _ = trajectory.step(k)
            p = context.policy.transition(x.detach(), k, trajectory.cond)
            log_prob = p.log_prob(after.detach(), "sum")
            yield Loss(-(residual.to(log_prob) * log_prob).mean() / context.accumulation)

    def _load(self, context: Context) -> Surrogate:
        if self.surrogate_reward is not None:
            return Surrogate(frozen_reward(self.surrogate_reward, context.policy.device))
        return RidgeSurrogate(self.surrogate, context)


def without_own(rewards: Tensor) -> Tensor:
    """``[B]``: the mean reward of the other samples, independent of a sample's own noise; 0 if there is no other."""
    return (rewards.sum() - rewards) / max(1, len(rewards) - 1)


def _column(fits: Sequence[Explained], name: str, like: Tensor) -> Tensor:
    return torch.tensor([getattr(fit, name) for fit in fits], dtype=like.dtype, device=like.device)

"""Experience: trajectories of the current policy with their rewards, gathered without gradient.

Every algorithm that learns from sampled trajectories (PPO, DPOK, D3PO) gathers here and visits them by a plan of
:mod:`kedge.algorithms.schedule`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from kedge.algorithms.base import Context
from kedge.algorithms.schedule import MicroBatch
from kedge.algorithms.scoring import Scoring
from kedge.algorithms.target import Hold, Target
from kedge.gaussian import Gaussian, Reduction
from kedge.no_grad import no_grad
from kedge.policies.base import NO_GRADIENT, Conditioning, Policy, ReferenceSteps, rollout

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Experience:
    """N trajectories.

    Attributes:
        prompts: N of them.
        cond: their encodings.
        latents: ``[K + 1, N, *latent_shape]``: x_K, …, x_0.
        stds: ``[K]``: the standard deviation of steps K, …, 1.
        rewards: ``[N]`` float32; zeros if they were not asked for.
        parts: by name ``[N]``: the scores that the rewards are a weighted sum of; empty if they are none.
        distance: ``[N]``: how far each lies from the reference's, in the unit of a target; None if there is none.
    """

    prompts: list[str]
    cond: Conditioning
    latents: Tensor
    stds: Tensor
    rewards: Tensor
    distance: Tensor | None = None
    parts: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.latents.shape[1]

    @property
    def steps(self) -> int:
        """K."""
        return self.stds.shape[0]

    def stochastic_steps(self) -> list[int]:
        """K, …, 2: the steps that have a log-probability.

        Raises:
            ValueError: if there are none, or some have no noise.
        """
        if self.steps < 2:
            raise ValueError("one sampling step has no noise to learn from: set model.steps to 2 or more")
        if (self.stds[:-1] == 0).any():
            raise ValueError(
                "sampling steps without noise have no log-probability: set model.eta or model.renoise above 0"
            )
        return list(range(self.steps, 1, -1))

    def x(self, k: int) -> Tensor:
        """x_k of all trajectories, ``[N, *latent_shape]``."""
        return self.latents[self.steps - k]

    def transition(self, policy: Policy, visit: MicroBatch) -> Gaussian:
        """``p(x_{k-1} | x_k, c)`` of ``policy`` as it is now, for the visited trajectories."""
        return policy.transition(self.x(visit.k)[visit.rows], visit.k, self.cond[visit.rows])

    @no_grad
    def reference(self, policy: Policy, visit: MicroBatch) -> Gaussian:
        """The same step of the reference."""
        with policy.reference():
            return self.transition(policy, visit)

    def log_prob(self, policy: Policy, visit: MicroBatch, reduction: Reduction) -> Tensor:
        """``log p(x_{k-1} | x_k, c)`` of what was sampled, under ``policy`` as it is now, ``[b]``."""
        return self.transition(policy, visit).log_prob(self.x(visit.k - 1)[visit.rows], reduction)

    def observe(self, hold: Hold, values: Tensor) -> dict[str, Tensor | float]:
        """Tell a held β how far the trajectories lie and what they are worth, ``[N]``; returns what to log."""
        if self.distance is None:
            return {}
        stds = {}
        for k in self.stochastic_steps():
            stds[k] = self.stds[self.steps - k]
        numbers = hold.observe(self.distance, values, stds)
        hold.close()
        return {**numbers, "beta": hold.beta}


def explore(context: Context, samples: int, chunk: int | None, target: Target | None = None) -> Experience:
    """Fresh prompts, fresh noise, rewards: N = ``samples`` trajectories, ``chunk`` (or a micro-batch) at once."""
    prompts, noise = context.prompts.take(samples), context.noise(samples)
    return collect(context, prompts, noise, chunk=chunk or context.batch_size, target=target)


@no_grad
def collect(
    context: Context,
    prompts: Sequence[str],
    noise: Tensor,
    *,
    chunk: int,
    reference: bool = False,
    rewarded: bool = True,
    target: Target | None = None,
) -> Experience:
    """Sample one trajectory for each prompt, and score its image.

    Rewards without a gradient (JPEG, remote servers) score one chunk in a thread while the next is sampled.

    Args:
        noise: ``[K, N, *latent_shape]``.
        chunk: how many to sample at once.
        reference: sample from the reference instead of the policy being trained.
        rewarded: whether to score at all.
        target: in whose unit to measure how far they lie from the reference; None does not.
    """
    cond, trajectories = context.encode(prompts), []
    beside = ReferenceSteps(target.beside(context.policy.steps) if target else (), exact=False)
    distances: list[Tensor] = []
    rewards = torch.zeros(len(prompts))
    parts: dict[str, Tensor] = {}
    with Scoring(context.reward) as scoring:
        for rows in torch.arange(len(prompts)).split(chunk):
            model: AbstractContextManager[None] = context.policy.reference() if reference else nullcontext()
            with model:
                trajectory = rollout(
                    context.policy, cond[rows], noise=noise[:, rows], backprop=NO_GRADIENT, reference_steps=beside
                )
            trajectories.append(torch.stack(trajectory.latents))
            if target:
                distances.append(target.measure(context.policy, trajectory))
            if rewarded:
                scoring.add(context.policy.decode(trajectory.x0), [prompts[row] for row in rows])
        if rewarded:
            rewards, parts = scoring.scores()
    latents = torch.cat(trajectories, dim=1)
    stds = torch.stack([p.std for p in trajectory.transitions]).float()
    distance = torch.cat(distances) if distances else None
    return Experience(
        list(prompts),
        cond,
        latents=latents,
        stds=stds,
        rewards=rewards.to(latents.device),
        distance=distance,
        parts=parts,
    )

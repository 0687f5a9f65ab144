"""ROCM: reward maximisation by backpropagation through the whole trajectory, anchored to the reference.

Algorithm 2 (page 1 of the supplement). The objective that is maximised is

    E[ R(x_0, c) − β Σ_{k=2..K} D_f(p_k^θ ‖ p_k^ref) ],    x_k on θ's own trajectory, noise fixed.

The paper's Eq. 8 and 10 print + β, and Eq. 9 prints f_ref for f_θ; Algorithm 2 is followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from kedge.algorithms.base import Context, Loss, Needs
from kedge.divergences import make_divergence
from kedge.gaussian import Gaussian, Reduction
from kedge.policies.base import Conditioning, OnStep, rollout

# Table 2. They fit the reductions that the divergences default to.
PAPER_BETA = {"none": 0.0, "kl": 1e-4, "reverse_kl": 1e-4, "hellinger": 0.5, "js": 2000.0, "fisher": 5e-5}
PAPER_BETA["js_sampled"] = PAPER_BETA["js"]


@dataclass(frozen=True)
class ROCM:
    """Direct reward optimisation with a divergence to the model that training started from.

    Attributes:
        divergence: D_f: none, kl, hellinger, js, js_sampled, fisher, chi2, tv, alpha, or module:Object.
        beta: β, the weight of the divergence; null takes the paper's Table 2. The paper scales it so that the penalty
            is an order of magnitude below the reward. 0 measures the divergence without using it.
        reduction: over latent dimensions: `sum`, the true divergence, or `mean`, per dimension; null takes the
            divergence's own (kl and fisher sum, hellinger and js mean), which Table 2 assumes.
        reference_gradient: x_k depends on θ, so the gradient also flows through the reference's mean at x_k: `exact`.
            `detached` leaves that path out: less memory, a biased gradient.
    """

    needs: ClassVar[Needs] = Needs(differentiable_reward=True, reference=True)

    divergence: str = "kl"
    beta: float | None = None
    reduction: Reduction | None = None
    reference_gradient: Literal["exact", "detached"] = "exact"

    def __post_init__(self) -> None:
        make_divergence(self.divergence, self.reduction)  # refuses an unknown name now
        if self.beta is None and self.divergence not in PAPER_BETA:
            raise ValueError(f"beta is required: the paper gives none for divergence {self.divergence!r}")
        if self.beta is not None and self.beta < 0:
            raise ValueError(f"beta must be 0 or more, not {self.beta}: the divergence is subtracted from the reward")
        if self.reference_gradient not in ("exact", "detached"):
            raise ValueError(f"reference_gradient must be exact or detached, not {self.reference_gradient!r}")

    @property
    def weight(self) -> float:
        """β, from Table 2 if it was not given."""
        return PAPER_BETA[self.divergence] if self.beta is None else self.beta

    def updates(self, context: Context) -> Iterator[Iterable[Loss]]:
        """One optimizer step: ``accumulation`` micro-batches of fresh trajectories."""
        if context.backprop.last_steps == 0:
            raise ValueError("rocm learns through the trajectory: backprop.last_steps must be 1 or more, or null")
        yield (self._loss(context) for _ in range(context.accumulation))

    def _loss(self, context: Context) -> Loss:
        prompts = context.prompts.take(context.batch_size)
        reward, divergence = self.evaluate(context, prompts, context.noise(len(prompts)))
        objective = (reward - self.weight * divergence).mean()  # Eq. (10), with Algorithm 2's sign
        return Loss(
            -objective / context.accumulation,
            {
                "reward": reward.detach(),
                "divergence": divergence.detach(),
                "penalty": self.weight * divergence.detach(),
            },
        )

    def evaluate(self, context: Context, prompts: Sequence[str], noise: Tensor) -> tuple[Tensor, Tensor]:
        """R(x_0, c) and Σ_{k=2..K} D_f for given noise ``[K, B, …]``: each ``[B]``, with graph."""
        divergences: list[Tensor] = []
        cond = context.encode(prompts)
        trajectory = rollout(context.policy, cond, noise, context.backprop, self._measure(context, cond, divergences))
        reward = context.reward(context.policy.decode(trajectory.x0), prompts)
        return reward, torch.stack(divergences).sum(0) if divergences else torch.zeros_like(reward)

    def _measure(self, context: Context, cond: Conditioning, divergences: list[Tensor]) -> OnStep | None:
        """What to do at each step of the rollout: append D_f(p_k^θ ‖ p_k^ref) for k ≥ 2."""
        if self.divergence == "none":
            return None
        divergence = make_divergence(self.divergence, self.reduction)

        def measure(k: int, x: Tensor, p: Gaussian) -> None:
            if k == 1:  # deterministic: no divergence
                return
            if p.deterministic:
                raise ValueError(
                    f"step {k} adds no noise, so it has no divergence: set model.eta > 0, or no divergence"
                )
            with nullcontext() if self.weight else torch.no_grad():
                with nullcontext() if self.reference_gradient == "exact" else torch.no_grad():
                    q = context.backprop.transition(context.policy, x, k, cond, reference=True)
                divergences.append(divergence(p, q))

        return measure

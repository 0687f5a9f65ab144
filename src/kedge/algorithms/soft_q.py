"""Soft-Q and ReFL: one step with gradient, and the picture that it leads to by prediction instead of by sampling.

SQDF (Kang et al. 2025, arXiv 2512.04559) takes r(x̂_0) at x_{k-1} for the soft Q-value of a step: x_k is drawn without
gradient, x_{k-1} = mean_θ(x_k) + std · z with it, and x̂_0(x_{k-1}) is the *frozen* model's prediction,

    maximise  γ^{k-1} r(x̂_0(x_{k-1})) − β K D_f(p_θ(·|x_k) ‖ p_ref(·|x_k)),      k drawn from K, …, 1;

at k = 1, which draws nothing, r(f_θ(x_1)). A consistency model predicts x̂_0 as well as it samples, so the shortcut
costs little there. Two graphs are held instead of K: models too large for ROCM fit. ReFL (Xu et al. 2023, arXiv
2304.05977) is cruder: the trained model's own prediction at a late x_k, and no anchor. Deviations, numbered:
docs/algorithms/soft_q.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import torch

from kedge.algorithms.base import Context, Loss, Needs
from kedge.algorithms.checks import check_fraction, check_positive
from kedge.algorithms.workload import Passes, Workload
from kedge.divergences import make_divergence
from kedge.gaussian import Reduction
from kedge.no_grad import no_grad
from kedge.policies.base import Backprop, Conditioning

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class PicturePredictingPolicy(Protocol):
    """A policy that can be asked for the picture that it predicts."""

    def predicted_x0(self, x: Tensor, k: int, cond: Conditioning) -> Tensor:
        """x̂_0 at x_k, differentiable: ``[B, *latent_shape]``."""


@dataclass(frozen=True)
class ReFL:
    """The reward of the picture that the model predicts at a random late step.

    Attributes:
        earliest: k is drawn from 1 to this; null takes the later half of the steps.
        ceiling: a picture whose reward reaches it has no gradient; null has none. In the reward's own numbers.
    """

    needs: ClassVar[Needs] = Needs(differentiable_reward=True, one_step=True)

    earliest: int | None = None
    ceiling: float | None = None

    def __post_init__(self) -> None:
        check_positive(self, "earliest")

    def workload(self, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
        """Down to x_k without gradient, then one step with it."""
        samples, earliest = batch_size * accumulation, self._earliest(steps)
        forward = samples * (steps - (earliest + 1) / 2 + 1)  # the mean over k
        return Workload(samples, queries=samples, updates=1, passes=Passes(forward, backward=samples))

    def rehearse(self, context: Context) -> Iterator[Iterable[Loss]]:
        """Each step that may be drawn."""
        for k in range(1, self._earliest(context.policy.steps) + 1):
            yield [self._loss(context, k)]

    def updates(self, context: Context) -> Iterator[Iterable[Loss]]:
        """One optimizer step: ``accumulation`` micro-batches, each at a step of its own."""
        earliest = self._earliest(context.policy.steps)
        yield (self._loss(context, draw_step(context, earliest)) for _ in range(context.accumulation))

    def _earliest(self, steps: int) -> int:
        return min(steps, self.earliest or -(-steps // 2))

    def _loss(self, context: Context, k: int) -> Loss:
        prompts, cond, x, _ = down_to(context, k)
        with context.backprop.storage():
            reward = context.reward(context.policy.decode(predicted(context, x, k, cond)), prompts)
        value = reward if self.ceiling is None else -torch.relu(self.ceiling - reward)
        return Loss(-value.mean() / context.accumulation, {"reward": reward.detach(), "step_k": float(k)})


@dataclass(frozen=True)
class SoftQ:
    """Reward through one reparametrised step and the frozen model's prediction, anchored by that step's divergence.

    Attributes:
        discount: γ: an early step's picture counts less.
        divergence: D_f, as for ROCM.
        beta: β, the weight of Σ_k D_f, which K times the drawn step's estimates (step 1 has none). The published α is
            2 α / (D K) here, of D latent dimensions and K steps.
        reduction: over latent dimensions, sum or mean; null takes the divergence's own.
    """

    needs: ClassVar[Needs] = Needs(differentiable_reward=True, reference=True, one_step=True)

    discount: float = 0.9
    divergence: str = "kl"
    beta: float = 0.005
    reduction: Reduction | None = None

    def __post_init__(self) -> None:
        check_fraction(self, "discount")
        make_divergence(self.divergence, self.reduction)
        if self.beta < 0:
            raise ValueError(f"beta must be 0 or more, not {self.beta}")

    def workload(self, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
        """Down to x_k, one step with gradient, and, but at k = 1, the reference's step and its prediction after it."""
        samples = batch_size * accumulation
        noisy = (steps - 1) / steps
        forward, back = samples * ((steps - 1) / 2 + 1), samples * (1 + noisy)
        return Workload(samples, samples, 1, Passes(forward, back, reference=2 * samples * noisy))

    def rehearse(self, context: Context) -> Iterator[Iterable[Loss]]:
        """Each step that may be drawn."""
        for k in range(1, context.policy.steps + 1):
            yield [self._loss(context, k)]

    def updates(self, context: Context) -> Iterator[Iterable[Loss]]:
        """One optimizer step: ``accumulation`` micro-batches, each at a step of its own."""
        yield (self._loss(context, draw_step(context, context.policy.steps)) for _ in range(context.accumulation))

    def _loss(self, context: Context, k: int) -> Loss:
        prompts, cond, x, noise = down_to(context, k)
        policy = context.policy  # only now: it may be another for each batch's size
        with context.backprop.storage():
            p = context.backprop.transition(policy, x, k, cond)
            if k == 1:
                x0, divergence = p.mean, p.mean.new_zeros(len(x))
            else:  # x̂_0(x_{k-1}), frozen; gradient to x_{k-1}
                x0 = predicted(context, p.sample(noise), k - 1, cond, reference=True)
                with policy.reference(), torch.no_grad():
                    q = policy.transition(x, k, cond)
                divergence = policy.steps * make_divergence(self.divergence, self.reduction)(p, q)
            reward = context.reward(policy.decode(x0), prompts)
        value = self.discount ** (k - 1) * reward - self.beta * divergence
        return Loss(
            -value.mean() / context.accumulation,
            {"reward": reward.detach(), "divergence": divergence.detach(), "step_k": float(k)},
        )


def draw_step(context: Context, earliest: int) -> int:
    """k from 1 to ``earliest``, uniformly at random."""
    return int(torch.randint(1, earliest + 1, (), generator=context.generator))


@no_grad
def down_to(context: Context, k: int) -> tuple[list[str], Conditioning, Tensor, Tensor]:
    """Fresh prompts, their encodings, x_k of one trajectory each, and the noise of the step after it, no gradient."""
    prompts = context.prompts.take(context.batch_size)
    cond, noise = context.encode(prompts), context.noise(len(prompts))
    x, steps = noise[0], context.policy.steps
    for i, step in enumerate(range(steps, k, -1), start=1):
        x = context.policy.transition(x, step, cond).sample(noise[i])
    return prompts, cond, x, noise[min(steps - k + 1, steps - 1)]


def predicted(context: Context, x: Tensor, k: int, cond: Conditioning, *, reference: bool = False) -> Tensor:
    """x̂_0 at x_k, the policy's or the reference's; at k = 1 the picture itself.

    Raises:
        ValueError: if the policy does not say.
    """
    policy, backprop = context.policy, context.backprop
    if k == 1:
        return backprop.transition(policy, x, 1, cond, reference=reference).mean
    if not isinstance(policy, PicturePredictingPolicy):
        raise ValueError("this model does not say which picture it predicts at a step: use rocm")

    def call(x: Tensor) -> tuple[Tensor]:
        with policy.reference() if reference else nullcontext():
            return (policy.predicted_x0(x, k, cond),)

    return backprop.recomputed(call, x)[0]

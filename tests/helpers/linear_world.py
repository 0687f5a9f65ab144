"""A linear-Gaussian world, in which every expectation is known: each step adds θ, and noise of unit variance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from helpers.adapter_switch import AdapterSwitch
from helpers.toys import Cycle
from kedge.algorithms.base import Algorithm, Context
from kedge.gaussian import Gaussian
from kedge.policies.base import Conditioning


class Shifted(AdapterSwitch):
    """x_{k-1} = x_k / 2 + θ + ε over latents ``[4, 1, 1]``, no noise at k = 1; the path KL is (K − 1) |θ|² / 2."""

    steps, latent_shape, device, dtype = 4, (4, 1, 1), torch.device("cpu"), torch.float64
    slope = 1 + 0.5 + 0.25 + 0.125  # ∂x_0 / ∂θ: of the last step 1, of all of them this

    def __init__(self) -> None:
        self.theta = nn.Parameter(torch.zeros(4, 1, 1, dtype=self.dtype))

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        return Conditioning({"row": torch.zeros(len(prompts), 1)})

    def transition(self, x: Tensor, k: int, cond: Conditioning) -> Gaussian:
        shift = self.theta if self._adapted else torch.zeros_like(self.theta)
        return Gaussian(0.5 * x + shift, torch.tensor(0.0 if k == 1 else 1.0, dtype=self.dtype))

    def x0_weight(self, k: int) -> float:
        return 0.5

    def decode(self, x0: Tensor) -> Tensor:
        return x0

    def trainable(self) -> Iterable[nn.Parameter]:
        return [self.theta]


class Linear:
    """r = Σ x_0."""

    name, differentiable = "linear", True

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return images.flatten(1).sum(1)


class Quadratic:
    """r = 2 Σ x_0 − |x_0 − 1|² / 2; its gradient depends on where one is."""

    name, differentiable = "quadratic", True

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        x = images.flatten(1)
        return 2 * x.sum(1) - (x - 1).square().sum(1) / 2


def world(reward: object | None = None, *, batch_size: int = 4, accumulation: int = 1, seed: int = 0) -> Context:
    """What a trainer would lend."""
    return Context(
        policy=Shifted(),
        reward=reward or Linear(),
        prompts=Cycle(["a"]),
        generator=torch.Generator().manual_seed(seed),
        batch_size=batch_size,
        accumulation=accumulation,
    )


def gradient(algorithm: Algorithm, context: Context) -> Tensor:
    """∇_θ of the first optimizer step's loss, ``[4]``."""
    (theta,) = context.policy.trainable()
    theta.grad = None
    for loss in next(iter(algorithm.updates(context))):
        loss.value.backward()
    assert theta.grad is not None
    return theta.grad.flatten().clone()


def ascend(algorithm: Algorithm, context: Context, steps: int, lr: float) -> dict[str, float]:
    """Plain gradient steps; the last micro-loss's metrics."""
    optimizer = torch.optim.SGD(list(context.policy.trainable()), lr=lr)
    numbers: dict[str, float] = {}
    for _ in range(steps):
        for losses in algorithm.updates(context):
            optimizer.zero_grad()
            for loss in losses:
                loss.value.backward()
                numbers = {name: float(torch.as_tensor(value).mean()) for name, value in loss.metrics.items()}
            optimizer.step()
    return numbers

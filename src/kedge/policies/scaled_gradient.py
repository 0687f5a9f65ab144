"""Scale a gradient in the backward pass, and leave the value as it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kedge.gaussian import Gaussian


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.scale, None


def scale_gradient(x: Tensor, scale: float) -> Tensor:
    """``x`` itself; its gradient times ``scale``."""
    scaled: Tensor = _ScaledGradient.apply(x, scale)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return scaled


def scale_means(scale: float, *steps: Gaussian) -> tuple[Gaussian, ...]:
    """The steps themselves; the gradients of their means times ``scale``."""
    return tuple(Gaussian(scale_gradient(step.mean, scale), step.std) for step in steps)

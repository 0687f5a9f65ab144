"""Convolutions of small maps on a CPU, as one matrix product.

PyTorch has oneDNN convolve a batch, and oneDNN brings the kernel into an order of its own at every call. Where a map
has few places for the channels it has, as deep inside a UNet, that takes longer than the convolution itself. A product
reads the kernel once, as it lies.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PLACES = 0.1  # of a batch's maps, for each output channel, up to which the product is faster (docs/results/speed.md)
SINGLE = 20_480  # numbers up to which PyTorch does not give a single map to oneDNN
KERNEL = 2**16  # numbers of a kernel from which its order takes longer than a product's own overhead


class SmallMapConv2d(nn.Conv2d):
    """A convolution that multiplies where its maps are small, and is itself elsewhere; equal up to rounding.

    Made of a layer by :func:`multiply_small_maps`. peft makes a LoRA on it of this class; its kernels are too small.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maps ``[B, C, H, W]`` to ``[B, C', H', W']``."""
        traced = torch.jit.is_tracing() or torch.compiler.is_exporting()  # type: ignore[attr-defined, no-untyped-call]
        assert not isinstance(self.padding, str)
        steps = Steps(self.stride, self.padding, self.dilation)
        if traced or torch.is_autocast_enabled("cpu") or not multiplies(input, self.weight, steps):
            return super().forward(input)
        return multiply(input, self.weight, self.bias, steps)


class Steps(NamedTuple):
    """How a kernel goes over a map: each ``(down, across)``."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    def places(self, input: Tensor, weight: Tensor) -> tuple[int, int]:
        """``(H', W')`` of the output."""
        extents = []
        for side in range(2):
            reach = self.dilation[side] * (weight.shape[2 + side] - 1) + 1
            extents.append((input.shape[2 + side] + 2 * self.padding[side] - reach) // self.stride[side] + 1)
        return extents[0], extents[1]


def multiplies(input: Tensor, weight: Tensor, steps: Steps) -> bool:
    """Whether PyTorch would give ``input`` ``[B, C, H, W]`` to oneDNN, and a product with ``weight`` is faster."""
    if input.dtype != torch.float32 or input.device.type != "cpu" or input.dim() != 4:
        return False
    given_away = len(input) > 1 or input.numel() > SINGLE
    if not given_away or weight.numel() < KERNEL or not weight.is_contiguous():
        return False
    return len(input) * math.prod(steps.places(input, weight)) <= PLACES * len(weight)


def multiply(input: Tensor, weight: Tensor, bias: Tensor | None, steps: Steps) -> Tensor:
    """The convolution of ``input`` ``[B, C, H, W]`` with ``weight`` ``[C', C, h, w]``, ungrouped: one product."""
    columns = F.unfold(  # [B, C h w, H' W']
        input, weight.shape[2:], dilation=steps.dilation, padding=steps.padding, stride=steps.stride
    )
    columns = columns.transpose(0, 1).flatten(1)
    product = weight.flatten(1) @ columns
    if bias is not None:
        product = product + bias[:, None]
    maps: Tensor = product.unflatten(1, (len(input), *steps.places(input, weight))).transpose(0, 1)
    return maps.contiguous()


def multiply_small_maps(network: nn.Module) -> None:
    """Have the plain convolutions of ``network``, on a CPU, multiply where that is faster."""
    for layer in network.modules():
        plain = type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros"
        if plain and not isinstance(layer.padding, str):
            layer.__class__ = SmallMapConv2d

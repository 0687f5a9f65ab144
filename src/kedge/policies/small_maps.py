"""Convolutions of small maps on a CPU, as one matrix product.

PyTorch has oneDNN convolve a batch, and oneDNN brings the kernel into an order of its own at every call. Where a map
has few places for the channels it has, as deep inside a UNet, that takes longer than the convolution itself. A product
reads the kernel once, as it lies.
"""

from __future__ import annotations

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
        if not self._may_multiply(input):
            return super().forward(input)
        height, width = (self._extent(input.shape[side], side) for side in (-2, -1))
        if len(input) * height * width > PLACES * self.out_channels:
            return super().forward(input)
        assert not isinstance(self.padding, str)
        columns = F.unfold(  # [B, C k², H' W']
            input, self.kernel_size, dilation=self.dilation, padding=self.padding, stride=self.stride
        )
        columns = columns.transpose(0, 1).flatten(1)
        product = self.weight.flatten(1) @ columns
        if self.bias is not None:
            product = product + self.bias[:, None]
        maps: Tensor = product.unflatten(1, (len(input), height, width)).transpose(0, 1)
        return maps.contiguous()

    def _extent(self, size: int, side: int) -> int:
        """Places along one side of the output."""
        reach = self.dilation[side] * (self.kernel_size[side] - 1) + 1
        return (size + 2 * int(self.padding[side]) - reach) // self.stride[side] + 1

    def _may_multiply(self, input: Tensor) -> bool:
        """Whether this is float32 on a CPU, which PyTorch would give to oneDNN, with a kernel as it lies."""
        plain = input.dtype == torch.float32 and input.device.type in ("cpu", "meta") and input.dim() == 4
        traced = torch.jit.is_tracing() or torch.compiler.is_exporting()  # type: ignore[attr-defined, no-untyped-call]
        if not plain or traced or torch.is_autocast_enabled("cpu"):
            return False
        given_away = len(input) > 1 or input.numel() > SINGLE
        return given_away and self.weight.numel() >= KERNEL and self.weight.is_contiguous()


def multiply_small_maps(network: nn.Module) -> None:
    """Have the plain convolutions of ``network``, on a CPU or planned for one, multiply where that is faster."""
    for layer in network.modules():
        plain = type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros"
        if plain and not isinstance(layer.padding, str):
            layer.__class__ = SmallMapConv2d

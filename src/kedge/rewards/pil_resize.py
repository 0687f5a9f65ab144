"""Pillow's bicubic resize in torch: bit for bit on 8-bit images, and differentiable.

Pillow resizes in two passes, across and down, each a weighted sum with weights in 22-bit fixed point, rounded to
8 bits (Pillow, ``Resample.c``). Both passes are small matrix products; in float64 the sums are exact. A one-pass
resize in floating point differs by up to 31/255 at edges, which moves scores as much as models differ.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

FIXED_POINT = 2**22
SUPPORT = 2.0  # of the bicubic kernel, in pixels
SHARPNESS = -0.5  # the kernel's a: Pillow's, and torch's with antialias=True
SNAP = 1e-4  # of one 8-bit level: float32's rounding of k/255 is within it


def resize_like_pil(images: Tensor, height: int, width: int, quantize: bool = True) -> Tensor:
    """Antialiased bicubic resize of ``[B, 3, H, W]`` in [0, 1].

    Images that hold 8-bit levels come out exactly as Pillow's; others are treated in the same way. The gradient passes
    straight through the rounding.

    Args:
        quantize: round to 8 bits after each pass, as Pillow does; off, the result is smooth in ``images``.
    """
    if (height, width) == tuple(images.shape[-2:]):
        return images
    exact = images.to(torch.float32 if images.device.type == "mps" else torch.float64)  # mps has no float64
    levels = exact * 255
    if quantize:
        levels = _straight_through(levels, _snapped(levels))
    shrink_down, shrink_across = images.shape[-2] - height, images.shape[-1] - width
    down_first = shrink_down > max(0, 2 * shrink_across)  # Pillow 13's order; older ones always go across first
    for vertical in (down_first, not down_first):
        levels = _pass(levels, height if vertical else width, vertical, quantize)
    return (levels / 255).to(images.dtype)


def _pass(levels: Tensor, size: int, vertical: bool, quantize: bool) -> Tensor:
    inside = levels.shape[-2 if vertical else -1]
    if inside == size:
        return levels
    weights = _weights(inside, size, str(levels.device)).to(levels)
    return _finish(weights @ levels if vertical else levels @ weights.T, quantize)


def _finish(levels: Tensor, quantize: bool) -> Tensor:
    """What ends a pass: clip to the range, and round halves up."""
    clipped = levels.clamp(0, 255)
    return _straight_through(clipped, (clipped + 0.5).floor()) if quantize else clipped


def _snapped(levels: Tensor) -> Tensor:
    """Levels that are whole but for float32's rounding, made whole."""
    whole = levels.round()
    return torch.where((levels - whole).abs() < SNAP, whole, levels)


def _straight_through(smooth: Tensor, rounded: Tensor) -> Tensor:
    """``rounded`` in the forward pass, ``smooth`` in the backward pass."""
    # Written as smooth + (rounded − smooth), the sum could miss `rounded` in its last bit; detach both ways round.
    return rounded.detach() + (smooth - smooth.detach())


@lru_cache(maxsize=64)
def _weights(inside: int, outside: int, device: str) -> Tensor:
    """Pillow's weights ``[outside, inside]``, float64, each a multiple of 2⁻²²."""
    scale = inside / outside
    stretch = max(scale, 1.0)
    weights = torch.zeros(outside, inside, dtype=torch.float64)
    for i in range(outside):
        centre = (i + 0.5) * scale
        first = max(int(centre - SUPPORT * stretch + 0.5), 0)
        last = min(int(centre + SUPPORT * stretch + 0.5), inside)
        taps = [_kernel((x - centre + 0.5) / stretch) for x in range(first, last)]
        total = sum(taps)
        fixed = [math.copysign(int(0.5 + abs(tap / total) * FIXED_POINT), tap) for tap in taps]
        weights[i, first:last] = torch.tensor(fixed, dtype=torch.float64) / FIXED_POINT
    return weights.to("cpu" if device.startswith("mps") else device)


def _kernel(x: float) -> float:
    """Keys' cubic convolution kernel."""
    x, a = abs(x), SHARPNESS
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < SUPPORT else 0.0

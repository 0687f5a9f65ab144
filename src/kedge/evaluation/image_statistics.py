"""What pictures look like, whatever any reward says: the numbers that reward hacking moves first.

A generator that cheats tends to darken, flatten, saturate or repeat its pictures while the trained reward rises. Each
statistic maps images ``[B, 3, H, W]`` in [0, 1] to ``[B]``. They depend on the resolution: compare like with like.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)  # Rec. 601


def luma(images: Tensor) -> Tensor:
    """``[B, H, W]`` brightness in [0, 1]."""
    return torch.einsum("bchw,c->bhw", images, images.new_tensor(_LUMA))


def brightness(images: Tensor) -> Tensor:
    """Mean luma."""
    return luma(images).flatten(1).mean(1)


def dark_fraction(images: Tensor) -> Tensor:
    """Share of pixels with a luma below 0.2."""
    return (luma(images) < 0.2).float().flatten(1).mean(1)


def saturation(images: Tensor) -> Tensor:
    """Mean of HSV saturation, (max − min) / max, 0 for black."""
    high, low = images.amax(1), images.amin(1)
    return ((high - low) / high.clamp(min=1e-6)).flatten(1).mean(1)


def edge_density(images: Tensor) -> Tensor:
    """Share of pixels where luma changes by more than 0.1 a pixel (Sobel gradient)."""
    across = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    kernels = torch.stack([across, across.T])[:, None]
    padded = F.pad(luma(images)[:, None], (1, 1, 1, 1), mode="replicate")
    gradient = F.conv2d(padded, kernels).square().sum(1).sqrt()
    return (gradient > 0.1).float().flatten(1).mean(1)


def colour_entropy(images: Tensor) -> Tensor:
    """Entropy in bits of the histogram of colours, 8 levels a channel: 0 for one flat colour, at most 9."""
    levels = (images * 8).floor().clamp(0, 7).long()
    codes = (levels[:, 0] * 64 + levels[:, 1] * 8 + levels[:, 2]).flatten(1)
    counts = torch.zeros(len(images), 512, device=images.device)
    counts.scatter_add_(1, codes, torch.ones_like(codes, dtype=counts.dtype))
    p = counts / codes.shape[1]
    nats: Tensor = torch.special.entr(p).sum(1)
    return nats / math.log(2)


STATISTICS = {
    "brightness": brightness,
    "dark_fraction": dark_fraction,
    "saturation": saturation,
    "edge_density": edge_density,
    "colour_entropy": colour_entropy,
}


def image_statistics(images: Tensor) -> dict[str, Tensor]:
    """Every statistic of each image, ``[B]`` float32."""
    return {name: statistic(images.float()) for name, statistic in STATISTICS.items()}

"""Ways to spoil pictures ``[B, 3, H, W]`` in [0, 1], each stronger with its argument (but JPEG: weaker quality)."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d, pad


def blur(images: Tensor, sigma: float) -> Tensor:
    """A Gaussian of ``sigma`` pixels."""
    radius = max(1, round(3 * sigma))
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-steps.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = pad(images, (radius,) * 4, mode="reflect")
    return conv2d(conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)


def noise(images: Tensor, std: float) -> Tensor:
    """Independent Gaussian noise on every value, the same at every call."""
    draw = torch.randn(images.shape, generator=torch.Generator().manual_seed(7))
    return (images + std * draw).clamp(0, 1)


def jpeg(images: Tensor, quality: int) -> Tensor:
    """What is left after JPEG."""
    return torch.stack([_through_jpeg(image, quality) for image in images])


def _through_jpeg(image: Tensor, quality: int) -> Tensor:
    pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float() / 255


def tint(images: Tensor, strength: float) -> Tensor:
    """Shift the colours towards magenta."""
    return (images + strength * torch.tensor([1.0, -0.6, 0.5])[:, None, None]).clamp(0, 1)

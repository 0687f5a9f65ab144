"""Between tensors in [0, 1] and the 8-bit pixels that people see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def to_uint8(images: Tensor) -> Tensor:
    """``[B, 3, H, W]`` in [0, 1] → ``[B, H, W, 3]`` uint8 on the CPU, rounded to the nearest level.

    Raises:
        ValueError: if a pixel is not a number.
    """
    if not torch.isfinite(images).all():
        raise ValueError("the model drew pixels that are not numbers (NaN or infinite): it has diverged")
    return (images.detach().float() * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu()


def from_uint8(images: Tensor | NDArray[np.uint8]) -> Tensor:
    """``[B, H, W, 3]`` uint8 → ``[B, 3, H, W]`` float32 in [0, 1]."""
    return torch.as_tensor(images).permute(0, 3, 1, 2).float() / 255


def as_rgb(image: Path | Image.Image) -> Image.Image:
    """An RGB image; transparency is shown on white."""
    opened = image if isinstance(image, Image.Image) else Image.open(image)
    if opened.mode in ("RGBA", "LA", "PA") or "transparency" in opened.info:
        layer = opened.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return opened.convert("RGB")

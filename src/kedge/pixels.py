"""Between tensors in [0, 1] and the 8-bit pixels that people see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
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
    """An RGB image as people see it: the right way up (EXIF), transparency on white, 16 bits brought down to 8.

    Raises:
        ValueError: naming the file, if it is damaged, no picture, or of a kind that has no one way to be shown.
    """
    try:
        opened = image if isinstance(image, Image.Image) else Image.open(image)
        return _flattened(ImageOps.exif_transpose(opened))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        name = image if isinstance(image, Path) else "the picture"
        raise ValueError(f"{name} cannot be read as a picture: {error}") from error


def _flattened(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, which say nothing of black and white: save it as PNG")
    if image.mode.startswith("I"):  # 16 bits of grey
        image = Image.fromarray((np.asarray(image).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8))
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")

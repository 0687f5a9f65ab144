"""What ``kedge world score`` does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from kedge.worlds.emoji.oracle import Oracle

PARTS = ("animal", "number", "place", "background", "clean", "activity", "total")


def score_file(path: str | Path, prompt: str) -> dict[str, float]:
    """The oracle's parts and total for a picture on disk, of whatever size (enlarged pixels are averaged back).

    Raises:
        ValueError: there is no such picture, it is not square, or the prompt is not of the emoji world.
    """
    try:
        pixels = np.array(Image.open(path).convert("RGB"))
    except FileNotFoundError:
        raise ValueError(f"there is no picture {path}") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not a picture that can be read (PNG, JPEG, WebP, …)") from None
    if pixels.shape[0] != pixels.shape[1]:
        size = f"{pixels.shape[1]} × {pixels.shape[0]}"
        raise ValueError(f"{path} is {size} pixels; the emoji world's pictures are square")
    parts = Oracle().parts(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255, [prompt])
    return {name: float(getattr(parts, name)[0]) for name in PARTS}

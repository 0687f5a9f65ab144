"""Images to the patches that Qwen's vision encoders read, in torch: what their processors do, differentiable.

Qwen2-VL, Qwen2.5-VL and Qwen3-VL cut a picture of any size into patches, after a resize that keeps its proportions,
makes its sides divisible, and its area neither too small nor too large. The values are those of transformers' own
processor without torchvision (Pillow's bicubic resize), and the gradient reaches the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoImageProcessor

from kedge.rewards.pil_resize import resize_like_pil
from kedge.rewards.preprocess import BICUBIC, CLIP_MEAN, CLIP_STD, normalise

KIND = "Qwen2VLImageProcessor"  # of all these families, with suffixes for the ways to compute it
LONGEST_TO_SHORTEST = 200


@dataclass(frozen=True)
class PatchPreprocess:
    """Resize, normalise, cut into patches.

    Attributes:
        patch: side of a patch in pixels.
        merge: the encoder joins ``merge × merge`` neighbouring patches into one token; they lie next to each other.
        frames: a picture counts as so many equal frames of a film.
        smallest, largest: bounds on the area after the resize, in pixels.
        mean, std: of the normalisation.
        quantize: round as Pillow does while resizing; off, the result is smooth in the images (for tests).
    """

    patch: int = 14
    merge: int = 2
    frames: int = 2
    smallest: int = 56 * 56
    largest: int = 28 * 28 * 1280
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    quantize: bool = True

    def __call__(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W]`` in [0, 1] to ``[B, N, 3 · frames · patch²]``, N in the encoder's order."""
        height, width = self.size(*images.shape[-2:])
        images = resize_like_pil(images, height, width, self.quantize)
        pixels = normalise(images, self.mean, self.std)
        down, across = height // (self.patch * self.merge), width // (self.patch * self.merge)
        pixels = pixels.reshape(len(images), 3, down, self.merge, self.patch, across, self.merge, self.patch)
        pixels = pixels.permute(0, 2, 5, 3, 6, 1, 4, 7)  # [B, down, across, merge, merge, 3, patch, patch]
        pixels = pixels.unsqueeze(6).expand(*pixels.shape[:6], self.frames, self.patch, self.patch)
        return pixels.reshape(len(images), down * across * self.merge**2, -1)

    def grid(self, height: int, width: int) -> Tensor:
        """``[1, 3]``: frames (merged to one), and rows and columns of patches, of an image of this size."""
        return torch.tensor([[1, *(side // self.patch for side in self.size(height, width))]])

    def tokens(self, height: int, width: int) -> int:
        """How many tokens an image of this size becomes."""
        return int(self.grid(height, width).prod()) // self.merge**2

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the resize.

        Raises:
            ValueError: the image is more than 200 times as long as it is wide.
        """
        if max(height, width) > LONGEST_TO_SHORTEST * min(height, width):
            raise ValueError(f"an image of {height} × {width} pixels is too narrow for this network")
        unit = self.patch * self.merge
        rows, columns = round(height / unit), round(width / unit)
        if rows * columns * unit**2 > self.largest:
            shrink = math.sqrt(height * width / self.largest)
            rows, columns = (max(1, math.floor(side / shrink / unit)) for side in (height, width))
        elif rows * columns * unit**2 < self.smallest:
            grow = math.sqrt(self.smallest / (height * width))
            rows, columns = (math.ceil(side * grow / unit) for side in (height, width))
        return rows * unit, columns * unit


def read_patch_preprocess(folder: Path) -> PatchPreprocess:
    """The preprocessing that a transformers folder asks for.

    Raises:
        ValueError: it asks for another kind, or for a resize that is not bicubic.
    """
    processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    if not type(processor).__name__.startswith(KIND):
        raise ValueError(
            f"{folder}: pictures are prepared by {type(processor).__name__}; this reward reads models of Qwen's kind "
            f"({KIND}): Qwen2-VL, Qwen2.5-VL, Qwen3-VL"
        )
    if int(processor.resample) != BICUBIC:
        raise ValueError(f"{folder}: the image processor resamples by {processor.resample}, not bicubic ({BICUBIC})")
    return PatchPreprocess(
        patch=processor.patch_size,
        merge=processor.merge_size,
        frames=processor.temporal_patch_size,
        smallest=processor.size["shortest_edge"],
        largest=processor.size["longest_edge"],
        mean=tuple(processor.image_mean),
        std=tuple(processor.image_std),
    )

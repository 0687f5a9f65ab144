"""Images to what a vision network reads, in torch: what the published scorers do through Pillow, differentiable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kedge.files import read_json
from kedge.rewards.pil_resize import resize_like_pil

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
Offset = Literal["floor", "round"]
BICUBIC = 3  # PIL.Image.Resampling.BICUBIC, as preprocessor_config.json writes it


def check_batch(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """Images as float32 (float64 stays), once their shape and number are right.

    Raises:
        ValueError: not ``[B, 3, H, W]``, not floating point, or not as many prompts as images.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"rewards read images as [B, 3, H, W], not {list(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"rewards read images as numbers in [0, 1], not {images.dtype}: divide 8-bit images by 255")
    if len(prompts) != len(images):
        raise ValueError(f"{len(images)} images for {len(prompts)} prompts: give one prompt for each image")
    return images.to(torch.promote_types(images.dtype, torch.float32))


def centre_crop(images: Tensor, size: int, offset: Offset = "floor") -> Tensor:
    """The middle ``size × size`` of images that are at least that large.

    Args:
        offset: where the middle is when an odd number of pixels is cut: transformers rounds the offset down,
            torchvision to the nearest (halves to even).
    """
    top, left = (_half(side - size, offset) for side in images.shape[-2:])
    return images[..., top : top + size, left : left + size]


def _half(pixels: int, offset: Offset) -> int:
    return pixels // 2 if offset == "floor" else round(pixels / 2)


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """``(images − mean) / std`` for each channel."""
    return (images - images.new_tensor(mean)[:, None, None]) / images.new_tensor(std)[:, None, None]


@dataclass(frozen=True)
class CropPreprocess:
    """Shortest side to ``size``, centre crop, normalise: CLIP's, and everybody's but HPSv2's.

    Attributes:
        quantize: round as Pillow does while resizing; off, the result is smooth in the images (for tests).
        offset: of the crop, as in the reference implementation; see :func:`centre_crop`.
    """

    size: int
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    quantize: bool = True
    offset: Offset = "floor"

    def __call__(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W]`` in [0, 1] to ``[B, 3, size, size]``."""
        height, width = images.shape[-2:]
        short = min(height, width)
        # Integer division of the long side, as torchvision and transformers do.
        height, width = self.size * height // short, self.size * width // short
        images = resize_like_pil(images, height, width, self.quantize)
        return normalise(centre_crop(images, self.size, self.offset), self.mean, self.std)


@dataclass(frozen=True)
class PadPreprocess:
    """Longest side to ``size``, black bars, normalise: HPSv2's own, on floating-point images and in one pass.

    Attributes:
        antialias: True is what the published code does with today's torchvision (≥ 0.17); its published numbers were
            most likely computed with an older one, without antialiasing. The difference is about 3e-3 in the score.
    """

    size: int
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    antialias: bool = True

    def __call__(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W]`` in [0, 1] to ``[B, 3, size, size]``."""
        scale = self.size / max(images.shape[-2:])
        if scale != 1:
            height, width = (round(side * scale) for side in images.shape[-2:])
            images = F.interpolate(images, (height, width), mode="bicubic", antialias=self.antialias)
        down, across = self.size - images.shape[-2], self.size - images.shape[-1]
        images = F.pad(images, (across // 2, across - across // 2, down // 2, down - down // 2))
        return normalise(images, self.mean, self.std)


def read_preprocess(folder: Path, size: int) -> CropPreprocess:
    """The preprocessing that a transformers folder asks for, at the network's ``size``.

    Raises:
        ValueError: it asks for something else than bicubic resize of the shortest side and centre crop to ``size``.
    """
    config = _image_processor(folder)
    crop, shortest = _side(config.get("crop_size", size), "height"), _side(config.get("size", size), "shortest_edge")
    if (crop, shortest) != (size, size) or config.get("resample", BICUBIC) != BICUBIC:
        raise ValueError(
            f"{folder}: the image processor wants size {config.get('size')}, crop {config.get('crop_size')} and "
            f"resampling {config.get('resample')}; this network reads {size} × {size} pixels after a bicubic resize "
            f"(resampling {BICUBIC}) of the shortest side to {size}"
        )
    return CropPreprocess(size, tuple(config.get("image_mean", CLIP_MEAN)), tuple(config.get("image_std", CLIP_STD)))


def _image_processor(folder: Path) -> dict[str, Any]:
    """transformers 5 nests it in processor_config.json; before, it was preprocessor_config.json."""
    nested, flat = folder / "processor_config.json", folder / "preprocessor_config.json"
    if nested.is_file() and (config := read_json(nested).get("image_processor")):
        return dict(config)
    return dict(read_json(flat)) if flat.is_file() else {}


def _side(size: Any, key: str) -> int:
    if isinstance(size, dict):
        return int(size[key] if key in size else size.get("height", -1))
    return int(size)

"""JPEG size: the compressibility and incompressibility rewards of DDPO and RLCM."""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from kedge.pixels import to_uint8
from kedge.rewards.preprocess import check_batch

QUALITY = 95
KILOBYTE = 1000


def jpeg_sizes(images: Tensor) -> Tensor:
    """The size in kB (of 1000 bytes) of each image as JPEG, quality 95, chroma at half resolution; ``[B]``.

    It grows with the resolution and depends a little on Pillow's libjpeg: compare only within one set-up.
    """
    sizes = []
    for picture in to_uint8(images).numpy():
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format="JPEG", quality=QUALITY)
        sizes.append(len(buffer.getvalue()) / KILOBYTE)
    return torch.tensor(sizes, device=images.device)


class JpegSize:
    """``sign`` times the JPEG size in kB; no gradient (see ``compressibility_proxy`` for one)."""

    differentiable = False

    def __init__(self, sign: int):
        self.name = "incompressibility" if sign > 0 else "compressibility"
        self.sign = sign

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``."""
        return self.sign * jpeg_sizes(check_batch(images, prompts))

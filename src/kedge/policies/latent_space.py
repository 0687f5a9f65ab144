"""The latents of a model: their shape, how they are packed for its network, and what its VAE decodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor
from torch.nn import functional as F

PATCH = 2  # side of the squares of latents that Flux makes tokens of


def identity(x: Tensor) -> Tensor:
    """``x``."""
    return x


@dataclass(frozen=True)
class LatentSpace:
    """Where a policy's latents ``[B, C, H, W]`` live.

    Attributes:
        channels: C.
        factor: how many pixels along a side one latent stands for.
        multiple: the sides of a picture must be multiples of this, in pixels.
        native: ``(H, W)`` of the model's own pictures.
        decodable: maps latents of unit variance to those that the VAE decodes.
        arranged: maps a step's noise, filled in the order in which diffusers' pipeline draws it, to latents. The
            identity, but for pipelines that draw the noise of x_K as latents and that of later steps as tokens.
    """

    channels: int
    factor: int
    multiple: int
    native: tuple[int, int]
    decodable: Callable[[Tensor], Tensor]
    arranged: Callable[[Tensor], Tensor] = identity

    def shape(self, size: int | tuple[int, int] | None) -> tuple[int, int, int]:
        """``(C, H, W)`` for pictures of ``size`` pixels: a side, or height and width; None is the model's own.

        Raises:
            ValueError: if the model cannot draw that size.
        """
        if size is None:
            return self.channels, *self.native
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < self.multiple or height % self.multiple or width % self.multiple:
            raise ValueError(
                f"model.size must be a multiple of {self.multiple} pixels for this model, not {height} × {width}"
            )
        return self.channels, height // self.factor, width // self.factor


def scaled(vae: Any) -> Callable[[Tensor], Tensor]:
    """``x / scaling_factor + shift_factor`` of the VAE's config, which may have no shift."""

    def decodable(x: Tensor) -> Tensor:
        latents: Tensor = x / vae.config.scaling_factor
        shift = vae.config.get("shift_factor")
        return latents + shift if shift else latents

    return decodable


def unet_space(pipeline: DiffusionPipeline, network: Any) -> LatentSpace:
    """Latents that the network sees as they are, of the size that its config names."""
    native, factor = network.config.sample_size, pipeline.vae_scale_factor
    height, width = (native, native) if isinstance(native, int) else native
    return LatentSpace(
        channels=network.config.in_channels,
        factor=factor,
        multiple=factor,
        native=(height, width),
        decodable=scaled(pipeline.vae),
    )


def packed(x: Tensor) -> Tensor:
    """Flux's tokens ``[B, H/2 · W/2, 4C]`` of latents ``[B, C, H, W]``: a permutation."""
    return tokens(F.pixel_unshuffle(x, PATCH))


def unpacked(x: Tensor, height: int, width: int) -> Tensor:
    """The inverse of :func:`packed`, for latents of ``height`` × ``width``."""
    return F.pixel_shuffle(spatial(x, height // PATCH, width // PATCH), PATCH)


def tokens(x: Tensor) -> Tensor:
    """``[B, H · W, C]`` of ``[B, C, H, W]``."""
    return x.flatten(2).mT


def spatial(x: Tensor, height: int, width: int) -> Tensor:
    """The inverse of :func:`tokens`."""
    latents: Tensor = x.mT.unflatten(2, (height, width))
    return latents


def drawn_packed(noise: Tensor) -> Tensor:
    """Noise that was drawn as Flux's tokens, as latents."""
    batch, channels, height, width = noise.shape
    return unpacked(noise.reshape(batch, -1, channels * PATCH**2), height, width)


def drawn_as_tokens(noise: Tensor) -> Tensor:
    """Noise that was drawn as ``[B, H · W, C]``, as latents."""
    batch, channels, height, width = noise.shape
    return spatial(noise.reshape(batch, -1, channels), height, width)


def grid(height: int, width: int, device: torch.device) -> Tensor:
    """Row and column of each of ``height · width`` tokens: ``[H · W, 2]``, int64."""
    return torch.cartesian_prod(torch.arange(height, device=device), torch.arange(width, device=device))

"""What the two families of latent generators share: loading, prompts, the adapter, and decoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from kedge.gaussian import Gaussian
from kedge.models import resolve_model
from kedge.policies.base import Conditioning
from kedge.policies.lora import Adapter, LoraConfig
from kedge.quiet import quiet_loading

__all__ = ["LatentPolicy", "LoraConfig", "load_pipeline"]


class LatentPolicy(ABC):
    """A diffusers pipeline (text encoder, UNet, VAE) as a :class:`kedge.policies.base.Policy`.

    Attributes:
        pipeline: the real diffusers pipeline, with every network frozen.
        guidance: ω of ROCM's Eq. 4.
        adapter: the LoRA on the UNet, or None.
        decoder: the VAE's, from scaled latents to images in [−1, 1]; ``economise`` may wrap it.
        straight_through: let gradients pass through the clamp of :meth:`decode` where pixels are saturated.
    """

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        *,
        steps: int,
        guidance: float,
        lora: LoraConfig | None = None,
        straight_through: bool = True,
    ):
        self.pipeline, self.unet, self.vae = pipeline, pipeline.unet, pipeline.vae
        for network in (pipeline.text_encoder, self.unet, self.vae):
            network.requires_grad_(False).eval()
        self.steps, self.guidance, self.straight_through = steps, guidance, straight_through
        self.device, self.network_dtype = self.unet.device, self.unet.dtype
        self.dtype = torch.promote_types(self.network_dtype, torch.float32)
        size = self.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        self.latent_shape = (self.unet.config.in_channels, height, width)
        self.adapter = Adapter(self.unet, lora) if lora else None
        self.decoder: Callable[[Tensor], Tensor] = self._decode

    @abstractmethod
    def transition(self, x: Tensor, k: int, cond: Conditioning) -> Gaussian:
        """``p(x_{k-1} | x_k, c)`` at ``x = x_k`` ``[B, *latent_shape]``; std = 0 at k = 1."""

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts, without gradient."""

    def reference(self) -> AbstractContextManager[None]:
        """Inside, the UNet runs without the adapter. Contexts may be nested."""
        return self.adapter.disabled() if self.adapter else nullcontext()

    def pair(self, x: Tensor, k: int, cond: Conditioning) -> tuple[Gaussian, Gaussian]:
        """``transition`` and the reference's, by one call of the UNet with twice the batch: the weights are read once.

        The numbers are those of two calls up to rounding.
        """
        if self.adapter is None:
            p = self.transition(x, k, cond)
            return p, p
        twice = Conditioning({name: torch.cat([tensor, tensor]) for name, tensor in cond.tensors.items()})
        with self.adapter.halved(len(x)):
            both = self.transition(torch.cat([x, x]), k, twice)
        mean, reference_mean = both.mean.chunk(2)
        return Gaussian(mean, both.std), Gaussian(reference_mean, both.std)

    def trainable(self) -> Iterable[torch.nn.Parameter]:
        """The adapter's weights."""
        return list(self.adapter.weights.values()) if self.adapter else []

    def decode(self, x0: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` in [0, 1] from ``[B, *latent_shape]``, in ``x0``'s dtype, differentiable.

        A clamp has no gradient where a pixel is saturated, as flat backgrounds are: nothing could bring it back. With
        ``straight_through`` the gradient passes as if the pixel had not been clamped.
        """
        latents = (x0 / self.vae.config.scaling_factor).to(self.vae.dtype)
        images = self.decoder(latents).to(x0.dtype) / 2 + 0.5
        clamped = images.clamp(0, 1)
        return clamped.detach() + (images - images.detach()) if self.straight_through else clamped

    def _decode(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.vae.decode(latents, return_dict=False)[0]
        return decoded

    @torch.no_grad()
    def embed(self, prompts: Sequence[str], *, unconditional: bool) -> tuple[Tensor, Tensor | None]:
        """CLIP text states ``[B, L, D]`` of the prompts and, if asked for, of the empty prompt."""
        text, empty = self.pipeline.encode_prompt(list(prompts), self.device, 1, unconditional)
        return text, empty

    def predict(self, x: Tensor, timestep: Tensor, text: Tensor, **extra: Any) -> Tensor:
        """The UNet's output in the latents' dtype, whatever its own."""
        x_network = x.to(self.network_dtype)
        output = self.unet(x_network, timestep, encoder_hidden_states=text, return_dict=False, **extra)[0]
        return output.to(x.dtype)


def load_pipeline(
    cls: type[DiffusionPipeline], model: str | Path, device: torch.device, dtype: torch.dtype
) -> DiffusionPipeline:
    """Load a Stable Diffusion model from a folder or the hub, without its safety checker."""
    where = resolve_model(model)
    with quiet_loading():
        pipeline = cls.from_pretrained(
            where,
            dtype=dtype,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def refuse_clipping(scheduler: Any) -> None:
    """Latents are not bounded: clipping the predicted x_0 would be no Gaussian mean worth differentiating.

    Raises:
        ValueError: if the scheduler's config asks for it.
    """
    for key in ("clip_sample", "thresholding"):
        if scheduler.config.get(key):
            raise ValueError(
                f"scheduler/scheduler_config.json sets {key}: true, which latent models do not use; set it to false"
            )

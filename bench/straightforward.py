"""ROCM as a user would write it from diffusers' parts: a trained UNet, a frozen copy, block checkpoints, one loop.

It shares nothing with Kedge but the weights it is given. What Kedge does is measured against it, and must have its
gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig
from torch import Tensor


class Straightforward:
    """Two UNets, full backpropagation through all steps, diffusers' own gradient checkpointing.

    Args:
        pipeline: a latent consistency model with a guidance embedding.
        reward: images in [0, 1] to scores ``[B]``.
        pixels: side of the pictures.
    """

    def __init__(
        self, pipeline: DiffusionPipeline, reward: Callable[[Tensor], Tensor], *, steps: int, pixels: int, omega: float
    ):
        self.pipe, self.reward, self.steps, self.pixels = pipeline, reward, steps, pixels
        for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            part.requires_grad_(False)
        self.reference = copy.deepcopy(pipeline.unet)
        targets = ["to_q", "to_k", "to_v", "to_out.0"]
        pipeline.unet.add_adapter(LoraConfig(r=16, lora_alpha=32, init_lora_weights="gaussian", target_modules=targets))
        for unet in (pipeline.unet, self.reference):
            unet.enable_gradient_checkpointing()
        pipeline.vae.enable_gradient_checkpointing()
        size = pipeline.unet.config.time_cond_proj_dim
        embedding = pipeline.get_guidance_scale_embedding(torch.tensor([omega]), size)
        self.omega = embedding.to(pipeline.unet.device, pipeline.unet.dtype)

    def trainable(self) -> list[torch.nn.Parameter]:
        """The LoRA's weights."""
        return [p for p in self.pipe.unet.parameters() if p.requires_grad]

    def loss(self, prompts: list[str], generator: torch.Generator, beta: float) -> Tensor:
        """−(reward − β KL) of one batch, with graph."""
        pipe, scheduler, count = self.pipe, self.pipe.scheduler, len(prompts)
        device, dtype = pipe.unet.device, pipe.unet.dtype
        with torch.no_grad():
            text = pipe.encode_prompt(prompts, device, 1, False)[0]
        scheduler.set_timesteps(self.steps)
        shape = (count, 4, self.pixels // 8, self.pixels // 8)
        latents = torch.randn(shape, generator=generator).to(device)
        divergence = torch.zeros(count, device=device)
        for i, t in enumerate(scheduler.timesteps):
            inputs: dict[str, Any] = {
                "encoder_hidden_states": text,
                "timestep_cond": self.omega.expand(count, -1),
                "return_dict": False,
            }
            predicted = pipe.unet(latents.to(dtype), t, **inputs)[0].float()
            following, denoised = scheduler.step(predicted, t, latents, generator=generator, return_dict=False)
            if i < self.steps - 1:
                expected = self.reference(latents.to(dtype), t, **inputs)[0].float()
                alpha_bar = scheduler.alphas_cumprod[scheduler.timesteps[i + 1]]
                gap = alpha_bar.sqrt() * (denoised - self._denoised(expected, t, latents))
                divergence = divergence + gap.flatten(1).square().sum(1) / (2 * (1 - alpha_bar))
            latents = following
        images = pipe.vae.decode((denoised / pipe.vae.config.scaling_factor).to(dtype), return_dict=False)[0].float()
        images = images / 2 + 0.5
        clamped = images.clamp(0, 1).detach() + images - images.detach()
        return -(self.reward(clamped) - beta * divergence).mean()

    def _denoised(self, predicted: Tensor, t: Tensor, latents: Tensor) -> Tensor:
        scheduler = self.pipe.scheduler
        alpha_bar = scheduler.alphas_cumprod[t]
        x0 = (latents - (1 - alpha_bar).sqrt() * predicted) / alpha_bar.sqrt()
        skip, out = scheduler.get_scalings_for_boundary_condition_discrete(t)
        return out * x0 + skip * latents

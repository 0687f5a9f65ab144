"""ROCM on a few-step flow transformer as a user would write it from diffusers' parts, for Stable Diffusion 3.5.

A trained transformer, a frozen copy, block checkpoints, one loop. It shares nothing with Kedge but the weights it is
given. What Kedge does is measured against it, and must have its gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from diffusers import StableDiffusion3Pipeline
from peft import LoraConfig
from torch import Tensor

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


class FlowLoop:
    """Two transformers, full backpropagation through all steps, diffusers' own gradient checkpointing.

    Args:
        pipeline: a few-step flow model.
        reward: images in [0, 1] to scores ``[B]``.
        prompts: encoded once, as their encoders do not learn.
        pixels: side of the pictures.
    """

    def __init__(
        self,
        pipeline: StableDiffusion3Pipeline,
        reward: Callable[[Tensor], Tensor],
        *,
        prompts: list[str],
        steps: int,
        pixels: int,
    ):
        self.pipe, self.reward, self.steps = pipeline, reward, steps
        for part in (pipeline.transformer, pipeline.vae):
            part.requires_grad_(False)
        self.reference = copy.deepcopy(pipeline.transformer)
        lora = LoraConfig(r=16, lora_alpha=32, init_lora_weights="gaussian", target_modules=TARGETS)
        pipeline.transformer.add_adapter(lora)
        for transformer in (pipeline.transformer, self.reference):
            transformer.enable_gradient_checkpointing()
        pipeline.vae.enable_gradient_checkpointing()
        channels, side = pipeline.transformer.config.in_channels, pixels // pipeline.vae_scale_factor
        self.shape = (len(prompts), channels, side, side)
        with torch.no_grad():
            self.text, _, self.pooled, _ = pipeline.encode_prompt(
                prompts, None, None, do_classifier_free_guidance=False
            )

    def trainable(self) -> list[torch.nn.Parameter]:
        """The LoRA's weights."""
        return [p for p in self.pipe.transformer.parameters() if p.requires_grad]

    def loss(self, generator: torch.Generator, beta: float) -> Tensor:
        """−(reward − β KL) of one batch, with graph."""
        scheduler, config = self.pipe.scheduler, self.pipe.vae.config
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / self.steps, self.steps).tolist())
        device = self.pipe.transformer.device
        x = torch.randn(self.shape, generator=generator).to(device)
        divergence = torch.zeros(len(x), device=device)
        for i, t in enumerate(scheduler.timesteps):
            sigma, following = scheduler.sigmas[i].to(device), scheduler.sigmas[i + 1].to(device)
            x0 = x - sigma * self._velocity(self.pipe.transformer, x, t)
            if i == self.steps - 1:
                break
            gap = (1 - following) * (x0 - (x - sigma * self._velocity(self.reference, x, t)))
            divergence = divergence + gap.flatten(1).square().sum(1) / (2 * following**2)
            # As FlowMatchEulerDiscreteScheduler(stochastic_sampling=True), whose noise comes from no generator.
            x = (1 - following) * x0 + following * torch.randn(self.shape, generator=generator).to(device)
        latents = x0 / config.scaling_factor + config.shift_factor
        images = self.pipe.vae.decode(latents.to(self.pipe.vae.dtype), return_dict=False)[0].float() / 2 + 0.5
        clamped = images.clamp(0, 1).detach() + images - images.detach()
        return -(self.reward(clamped) - beta * divergence).mean()

    def _velocity(self, transformer: torch.nn.Module, x: Tensor, t: Tensor) -> Tensor:
        velocity: Tensor = transformer(
            hidden_states=x.to(self.text.dtype),
            timestep=t.expand(len(x)).to(x.device),
            encoder_hidden_states=self.text,
            pooled_projections=self.pooled,
            return_dict=False,
        )[0]
        return velocity.float()

"""SD-Turbo, SDXL-Turbo and their like: one to four ancestral Euler steps, in sigma space.

Adversarially distilled models that predict x_0 at any noise level. Between two steps, fresh noise replaces part of the
old: a Gaussian step, with the mean and standard deviation of diffusers' ``EulerAncestralDiscreteScheduler``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DiffusionPipeline, EulerAncestralDiscreteScheduler
from torch import Tensor

from kedge.gaussian import Gaussian
from kedge.policies.families.unet import embeds_guidance, unet_policy
from kedge.policies.latent import LatentPolicy
from kedge.policies.settings import LoraConfig
from kedge.policies.steps import ScheduledStep, check_prediction_type, check_steps, predicted_x0, schedule_of


@dataclass(frozen=True)
class AncestralStep(ScheduledStep):
    """The constants of step k, all ``[]`` on the CPU, and what is done with them.

    Latents are x_0 + σ ε. The first one, x_K, is the plain noise that every policy starts from: step K scales it up.

    Attributes:
        scale: from x_k to sigma space: σ at the start of the schedule for k = K, else 1.
        sigma: σ_k.
        down: the σ that the deterministic part of the step goes down to: √(σ²_{k-1} − std²).
        std: √(σ²_{k-1} (σ²_k − σ²_{k-1}) / σ²_k); 0 at the last step.
    """

    scale: Tensor
    sigma: Tensor
    down: Tensor
    std: Tensor

    def network_input(self, x: Tensor) -> Tensor:
        """x_k with unit variance: x / √(σ² + 1)."""
        return self.scale * x / (self.sigma**2 + 1) ** 0.5

    @property
    def x0_weight(self) -> Tensor:
        """∂mean / ∂x̂_0."""
        return 1 - self.down / self.sigma

    def gaussian(self, x: Tensor, output: Tensor) -> Gaussian:
        """``p(x_{k-1} | x_k, c)`` from the network's output at x_k."""
        alpha = 1 / (self.sigma**2 + 1) ** 0.5
        x0 = predicted_x0(output, self.network_input(x), alpha, alpha * self.sigma, self.prediction_type)
        x = self.scale * x
        return Gaussian(x + (x - x0) / self.sigma * (self.down - self.sigma), self.std)


def ancestral_schedule(
    scheduler: EulerAncestralDiscreteScheduler, steps: int, dtype: torch.dtype
) -> dict[int, AncestralStep]:
    """Steps K, …, 1 with the constants of diffusers' ``EulerAncestralDiscreteScheduler``.

    Raises:
        ValueError: for too many steps, or an unknown prediction type.
    """
    check_prediction_type(scheduler.config.prediction_type)
    check_steps(steps, scheduler.config.num_train_timesteps)
    scheduler.set_timesteps(steps)

    def constants(i: int, t: Tensor) -> tuple[Tensor, ...]:
        sigma, following = scheduler.sigmas[i], scheduler.sigmas[i + 1]
        std = (following**2 * (sigma**2 - following**2) / sigma**2) ** 0.5
        down = (following**2 - std**2) ** 0.5
        scale = torch.as_tensor(scheduler.init_noise_sigma) if i == 0 else torch.ones([])
        return scale, sigma, down, std

    return schedule_of(
        AncestralStep, scheduler.timesteps, constants, prediction_type=scheduler.config.prediction_type, dtype=dtype
    )


def turbo_policy(
    pipeline: DiffusionPipeline,
    *,
    steps: int,
    guidance: float = 0.0,
    lora: LoraConfig | None = None,
    size: int | tuple[int, int] | None = None,
) -> LatentPolicy:
    """A few-step model of either architecture, whatever Euler scheduler its folder names.

    Raises:
        ValueError: for a consistency model, or settings that it cannot have.
    """
    if embeds_guidance(pipeline):
        raise ValueError("this is a consistency model (its UNet embeds the guidance): use model.kind=lcm")
    dtype = torch.promote_types(pipeline.unet.dtype, torch.float32)
    scheduler = EulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config)
    schedule = ancestral_schedule(scheduler, steps, dtype)
    return unet_policy(pipeline, schedule, guidance=guidance, lora=lora, size=size)

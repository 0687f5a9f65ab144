"""Diffusion models as policies: the DDIM step with η > 0, with classifier-free guidance (ROCM, Eq. 4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from torch import Tensor

from kedge.gaussian import Gaussian
from kedge.policies.families.unet import embeds_guidance, unet_policy
from kedge.policies.latent import LatentPolicy
from kedge.policies.settings import LoraConfig
from kedge.policies.steps import (
    ScheduledStep,
    check_prediction_type,
    check_steps,
    predicted_noise,
    predicted_x0,
    refuse_clipping,
    schedule_of,
)


@dataclass(frozen=True)
class DDIMStep(ScheduledStep):
    """The constants of step k, all ``[]`` on the CPU, and what is done with them (Song et al. 2021, Eq. 12 and 16).

    Attributes:
        alpha, sigma: √ᾱ and √(1 − ᾱ) at t_k.
        next_alpha: √ᾱ at t_{k-1}.
        direction: √(1 − ᾱ_{k-1} − η²σ²), the weight of the predicted noise.
        std: ησ; 0 at the last step.
    """

    alpha: Tensor
    sigma: Tensor
    next_alpha: Tensor
    direction: Tensor
    std: Tensor

    @property
    def x0_weight(self) -> Tensor:
        """∂mean / ∂x̂_0, with ε̂ = (x − √ᾱ x̂_0) / √(1 − ᾱ)."""
        return self.next_alpha - self.direction * self.alpha / self.sigma

    def gaussian(self, x: Tensor, output: Tensor) -> Gaussian:
        """``p(x_{k-1} | x_k, c)`` from the (guided) network's output at x_k."""
        x0 = predicted_x0(output, x, self.alpha, self.sigma, self.prediction_type)  # Eq. (12): "predicted x_0"
        noise = predicted_noise(output, x, self.alpha, self.sigma, self.prediction_type)
        # Eq. (12): √ᾱ_{k-1} x̂_0, "direction pointing to x_k", "random noise"
        return Gaussian(self.next_alpha * x0 + self.direction * noise, self.std)


def ddim_schedule(scheduler: DDIMScheduler, steps: int, eta: float, dtype: torch.dtype) -> dict[int, DDIMStep]:
    """Steps K, …, 1 with the constants of diffusers' ``DDIMScheduler``, bit for bit.

    The last step is the mean of the scheduler's: where its config leaves a little noise there
    (``set_alpha_to_one: false``), it is not added.

    Raises:
        ValueError: for η outside [0, 1], too many steps, or an unknown prediction type.
    """
    refuse_clipping(scheduler)
    check_prediction_type(scheduler.config.prediction_type)
    most = scheduler.config.num_train_timesteps
    check_steps(steps, most)
    if not 0 <= eta <= 1:
        raise ValueError(f"model.eta must lie between 0 (deterministic) and 1 (as noisy as DDPM), not {eta}")
    scheduler.set_timesteps(steps)

    def constants(i: int, t: Tensor) -> tuple[Tensor, ...]:
        previous = t - most // steps
        product = scheduler.alphas_cumprod[t]
        next_product = scheduler.alphas_cumprod[previous] if previous >= 0 else scheduler.final_alpha_cumprod
        variance = (1 - next_product) / (1 - product) * (1 - product / next_product)
        std = eta * variance**0.5  # Eq. (16)
        direction = (1 - next_product - std**2) ** 0.5
        last = i == steps - 1
        return product**0.5, (1 - product) ** 0.5, next_product**0.5, direction, torch.zeros([]) if last else std

    return schedule_of(
        DDIMStep, scheduler.timesteps, constants, prediction_type=scheduler.config.prediction_type, dtype=dtype
    )


def diffusion_policy(
    pipeline: DiffusionPipeline,
    *,
    steps: int,
    guidance: float,
    lora: LoraConfig | None = None,
    size: int | tuple[int, int] | None = None,
    eta: float = 1.0,
) -> LatentPolicy:
    """A text-to-image diffusion model on Stable Diffusion or SDXL, sampled by DDIM.

    Raises:
        ValueError: for a consistency model, or settings that it cannot have.
    """
    if embeds_guidance(pipeline):
        raise ValueError("this is a consistency model (its UNet embeds the guidance): use model.kind=lcm")
    scheduler = pipeline.scheduler
    if not isinstance(scheduler, DDIMScheduler):
        scheduler = DDIMScheduler.from_config(scheduler.config, clip_sample=False)
    schedule = ddim_schedule(scheduler, steps, eta, torch.promote_types(pipeline.unet.dtype, torch.float32))
    return unet_policy(pipeline, schedule, guidance=guidance, lora=lora, size=size)

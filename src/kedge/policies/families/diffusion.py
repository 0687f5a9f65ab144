"""Diffusion models as policies: the DDIM step with η > 0, with classifier-free guidance (ROCM, Eq. 4)."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from torch import Tensor

from kedge.policies.families.distilled import HYPER_SD
from kedge.policies.families.unet import refuse_consistency, unet_policy
from kedge.policies.latent import LatentPolicy
from kedge.policies.schedulers import as_scheduler, check_prediction_type, refuse_clipping
from kedge.policies.settings import LoraConfig
from kedge.policies.steps import GaussianStep, check_steps, ddim, schedule_of


def ddim_schedule(scheduler: DDIMScheduler, steps: int, eta: float, dtype: torch.dtype) -> dict[int, GaussianStep]:
    """Steps K, …, 1 with the constants of diffusers' ``DDIMScheduler``, bit for bit (Song et al. 2021, Eq. 12 and 16).

    The last step is the mean of the scheduler's: where its config leaves a little noise there
    (``set_alpha_to_one: false``), it is not added.

    Raises:
        ValueError: for η outside [0, 1], too many steps, or an unknown prediction type.
    """
    refuse_clipping(scheduler)
    check_prediction_type(scheduler.config.prediction_type)
    most = scheduler.config.num_train_timesteps
    check_steps(steps, most)
    scheduler.set_timesteps(steps)
    if (first := int(scheduler.timesteps[0])) >= most:
        raise ValueError(
            f"model.steps={steps} begins at time {first}, and this model's schedule ends at {most - 1} (its scheduler "
            f"has steps_offset {scheduler.config.steps_offset}): take fewer, such as model.steps={most // 2}"
        )

    def constants(i: int, t: Tensor) -> tuple[Tensor, ...]:
        previous = t - most // steps
        product = scheduler.alphas_cumprod[t]
        next_product = scheduler.alphas_cumprod[previous] if previous >= 0 else scheduler.final_alpha_cumprod
        noise = ddim(product, next_product, eta)
        # Eq. (12): √ᾱ_{k-1} x̂_0, "direction pointing to x_k", "random noise"
        return product**0.5, (1 - product) ** 0.5, next_product**0.5, *(noise.settled() if i == steps - 1 else noise)

    return schedule_of(
        GaussianStep, scheduler.timesteps, constants, prediction_type=scheduler.config.prediction_type, dtype=dtype
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
    refuse_consistency(pipeline)
    scheduler = pipeline.scheduler
    if not isinstance(scheduler, DDIMScheduler):
        scheduler = as_scheduler(DDIMScheduler, scheduler, clip_sample=False)
    schedule = ddim_schedule(scheduler, steps, eta, torch.promote_types(pipeline.unet.dtype, torch.float32))
    return unet_policy(pipeline, schedule, guidance=guidance, lora=lora, size=size)


def hyper_sd_policy(pipeline: DiffusionPipeline, **settings: Any) -> LatentPolicy:
    """Hyper-SD for several steps: DDIM at the last time of each part of the schedule.

    Raises:
        ValueError: for a consistency model, or settings that it cannot have.
    """
    scheduler = as_scheduler(DDIMScheduler, pipeline.scheduler, **HYPER_SD.scheduler_options)
    pipeline.register_modules(scheduler=scheduler)
    return diffusion_policy(pipeline, **settings)

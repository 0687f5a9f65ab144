"""Latent consistency models as policies: ROCM, Algorithm 1 (page 1 of the supplement) and Eq. 9."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline, LCMScheduler
from torch import Tensor

from kedge.policies.families.unet import embeds_guidance, refuse_consistency, unet_policy
from kedge.policies.latent import LatentPolicy
from kedge.policies.schedulers import as_scheduler, check_prediction_type, refuse_clipping, set_timesteps
from kedge.policies.settings import LoraConfig
from kedge.policies.steps import GaussianStep, check_steps, renoise, schedule_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConsistencyStep(GaussianStep):
    """A step whose network's output becomes x̃_k by the boundary condition of Eq. 7.

    Attributes:
        c_skip, c_out: of Eq. 7, at t_k.
    """

    c_skip: Tensor
    c_out: Tensor

    def predicted_x0(self, x: Tensor, output: Tensor) -> Tensor:
        """x̃_k = f_θ(x_k, ω, c, t_k)."""
        return self.c_out * super().predicted_x0(x, output) + self.c_skip * x  # Eq. (7)

    def predicted_noise(self, x: Tensor, output: Tensor) -> Tensor:
        """The noise that x_k has if x̃_k is right."""
        return (x - self.alpha * self.predicted_x0(x, output)) / self.sigma


def consistency_schedule(
    scheduler: LCMScheduler,
    steps: int,
    dtype: torch.dtype,
    share: float = 1.0,
    timesteps: tuple[int, ...] | None = None,
) -> dict[int, ConsistencyStep]:
    """Steps K, …, 1 with the constants of diffusers' ``LCMScheduler``, bit for bit.

    Args:
        share: r, how much of the next level's noise is drawn afresh; 1 is the scheduler's, and Eq. (9):
            N(α_{k-1} x̃_k, σ²_{k-1} I).
        timesteps: t_K, …, t_1; None is the scheduler's own choice.

    Raises:
        ValueError: for more steps than the model was distilled for, an unknown prediction type, or a share outside
            [0, 1].
    """
    refuse_clipping(scheduler)
    check_prediction_type(scheduler.config.prediction_type)
    check_steps(steps, scheduler.config.original_inference_steps)
    set_timesteps(scheduler, steps, timesteps)
    products = scheduler.alphas_cumprod
    levels = [(products[t].sqrt(), (1 - products[t]).sqrt()) for t in scheduler.timesteps]
    levels.append((torch.ones([]), torch.zeros([])))  # after the last step: no noise

    def constants(i: int, t: Tensor) -> tuple[Tensor, ...]:
        next_alpha, next_sigma = levels[i + 1]
        boundary = scheduler.get_scalings_for_boundary_condition_discrete(t)
        return *levels[i], next_alpha, *renoise(next_sigma, share), *boundary

    return schedule_of(
        ConsistencyStep, scheduler.timesteps, constants, prediction_type=scheduler.config.prediction_type, dtype=dtype
    )


def lcm_policy(
    pipeline: DiffusionPipeline,
    *,
    steps: int,
    guidance: float,
    lora: LoraConfig | None = None,
    size: int | tuple[int, int] | None = None,
    renoise: float = 1.0,
    timesteps: tuple[int, ...] | None = None,
) -> LatentPolicy:
    """A latent consistency model on Stable Diffusion or SDXL.

    ω enters as an embedding where the model was distilled with one. A model made by LCM-LoRA was not: there it is
    classifier-free guidance, best at 0 and at most about 1.

    Raises:
        ValueError: for a model that is no consistency model, or settings that it cannot have.
    """
    distilled = embeds_guidance(pipeline) or isinstance(pipeline.scheduler, LCMScheduler)
    if guidance and not distilled:
        raise ValueError(
            f"this model has no guidance embedding (time_cond_proj_dim), so as a consistency model it cannot take "
            f"guidance {guidance}. If it is one nevertheless: model.guidance=0. If it was distilled another way: "
            "model.kind=turbo, lightning, dmd2, hyper-sd or tcd; if not at all: model.kind=diffusion, of which "
            "model.lcm_lora=latent-consistency/lcm-lora-sdv1-5 (or -sdxl) makes a consistency model"
        )
    if not distilled:
        log.warning(
            "model.kind=lcm, but nothing in the model's files says that it is a consistency model: its UNet has no "
            "guidance embedding, and its scheduler is %s. If its pictures are blurred, it is none: "
            "model.kind=diffusion, or model.lcm_lora=latent-consistency/lcm-lora-sdv1-5 (or -sdxl)",
            type(pipeline.scheduler).__name__,
        )
    dtype = torch.promote_types(pipeline.unet.dtype, torch.float32)
    scheduler = as_scheduler(LCMScheduler, pipeline.scheduler)
    schedule = consistency_schedule(scheduler, steps, dtype=dtype, share=renoise, timesteps=timesteps)
    return unet_policy(pipeline, schedule, guidance=guidance, lora=lora, size=size)


def dmd2_policy(pipeline: DiffusionPipeline, *, guidance: float, **settings: Any) -> LatentPolicy:
    """DMD2: a consistency model's steps at times of its own; ω is classifier-free guidance, best at 0.

    Raises:
        ValueError: for a model with a guidance embedding, or settings that it cannot have.
    """
    refuse_consistency(pipeline)
    pipeline.register_modules(scheduler=as_scheduler(LCMScheduler, pipeline.scheduler))
    return lcm_policy(pipeline, guidance=guidance, **settings)

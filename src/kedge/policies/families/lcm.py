"""Latent consistency models as policies: ROCM, Algorithm 1 (page 1 of the supplement) and Eq. 9."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DiffusionPipeline, LCMScheduler
from torch import Tensor

from kedge.gaussian import Gaussian
from kedge.policies.families.unet import embeds_guidance, unet_policy
from kedge.policies.latent import LatentPolicy
from kedge.policies.settings import LoraConfig
from kedge.policies.steps import (
    ScheduledStep,
    check_prediction_type,
    check_steps,
    predicted_x0,
    refuse_clipping,
    schedule_of,
)


@dataclass(frozen=True)
class ConsistencyStep(ScheduledStep):
    """The constants of step k, all ``[]`` on the CPU, and what is done with them.

    Attributes:
        alpha, sigma: α and σ at t_k.
        c_skip, c_out: of Eq. 7, at t_k.
        next_alpha, next_sigma: α and σ at t_{k-1}; 1 and 0 after the last step.
    """

    alpha: Tensor
    sigma: Tensor
    c_skip: Tensor
    c_out: Tensor
    next_alpha: Tensor
    next_sigma: Tensor

    @property
    def x0_weight(self) -> Tensor:
        """∂mean / ∂x̃_k = α_{k-1}."""
        return self.next_alpha

    def gaussian(self, x: Tensor, output: Tensor) -> Gaussian:
        """``p(x_{k-1} | x_k, c)`` from the network's output at x_k."""
        x0 = predicted_x0(output, x, self.alpha, self.sigma, self.prediction_type)  # F_θ(x_k, t_k), as an image
        x_tilde = self.c_out * x0 + self.c_skip * x  # Eq. (7): x̃_k = f_θ(x_k, ω, c, t_k)
        return Gaussian(self.next_alpha * x_tilde, self.next_sigma)  # Eq. (9): N(α_{k-1} x̃_k, σ²_{k-1} I)


def consistency_schedule(scheduler: LCMScheduler, steps: int, dtype: torch.dtype) -> dict[int, ConsistencyStep]:
    """Steps K, …, 1 with the constants of diffusers' ``LCMScheduler``, bit for bit.

    Raises:
        ValueError: for more steps than the model was distilled for, or an unknown prediction type.
    """
    refuse_clipping(scheduler)
    check_prediction_type(scheduler.config.prediction_type)
    check_steps(steps, scheduler.config.original_inference_steps)
    scheduler.set_timesteps(steps)
    products = scheduler.alphas_cumprod
    levels = [(products[t].sqrt(), (1 - products[t]).sqrt()) for t in scheduler.timesteps]
    levels.append((torch.ones([]), torch.zeros([])))  # after the last step: no noise

    def constants(i: int, t: Tensor) -> tuple[Tensor, ...]:
        return *levels[i], *scheduler.get_scalings_for_boundary_condition_discrete(t), *levels[i + 1]

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
            f"guidance {guidance}: use model.guidance=0, or model.kind=diffusion if it is not a consistency model; "
            "model.lcm_lora=latent-consistency/lcm-lora-sdv1-5 makes one of Stable Diffusion 1.5"
        )
    dtype = torch.promote_types(pipeline.unet.dtype, torch.float32)
    schedule = consistency_schedule(LCMScheduler.from_config(pipeline.scheduler.config), steps, dtype)
    return unet_policy(pipeline, schedule, guidance=guidance, lora=lora, size=size)

"""SD-Turbo, SDXL-Turbo and their like: one to four ancestral Euler steps, in sigma space.

Adversarially distilled models that predict x_0 at any noise level. Between two steps, fresh noise replaces part of the
old: a Gaussian step, with the mean and standard deviation of diffusers' ``EulerAncestralDiscreteScheduler``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, SchedulerMixin
from torch import Tensor

from kedge.policies.families.distilled import LIGHTNING
from kedge.policies.families.unet import refuse_consistency, unet_policy
from kedge.policies.latent import LatentPolicy
from kedge.policies.schedulers import as_scheduler, check_prediction_type
from kedge.policies.settings import LoraConfig
from kedge.policies.steps import GaussianStep, ancestral, check_steps, predicted_noise, predicted_x0, schedule_of


@dataclass(frozen=True)
class AncestralStep(GaussianStep):
    """A step in sigma space: latents are x_0 + σ ε, α = 1, and the network sees them scaled to unit variance.

    The first latent, x_K, is the plain noise that every policy starts from: step K scales it up.

    Attributes:
        scale: from x_k to sigma space: σ at the start of the schedule for k = K, else 1.
    """

    scale: Tensor

    def network_input(self, x: Tensor) -> Tensor:
        """x_k with unit variance: x / √(σ² + 1)."""
        return self.scale * x / (self.sigma**2 + 1) ** 0.5

    def predicted_x0(self, x: Tensor, output: Tensor) -> Tensor:
        """x̂_0 from what the network saw, where α² + σ² = 1."""
        return predicted_x0(output, *self._seen(x), self.prediction_type)

    def predicted_noise(self, x: Tensor, output: Tensor) -> Tensor:
        """ε̂, likewise."""
        return predicted_noise(output, *self._seen(x), self.prediction_type)

    def _seen(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha = 1 / (self.sigma**2 + 1) ** 0.5
        return self.network_input(x), alpha, alpha * self.sigma


def ancestral_schedule(
    scheduler: EulerAncestralDiscreteScheduler, steps: int, dtype: torch.dtype
) -> dict[int, AncestralStep]:
    """Steps K, …, 1 with the constants of diffusers' ``EulerAncestralDiscreteScheduler``.

    Raises:
        ValueError: for too many steps, or an unknown prediction type.
    """
    check_prediction_type(scheduler.config.prediction_type)
    if scheduler.config.prediction_type == "sample" and steps > 1:
        raise ValueError("prediction_type sample: diffusers has no ancestral Euler steps for it; use model.steps=1")
    check_steps(steps, scheduler.config.num_train_timesteps)
    scheduler.set_timesteps(steps)
    one = torch.ones([])

    def constants(i: int, t: Tensor) -> tuple[Tensor, ...]:
        sigma, next_sigma = scheduler.sigmas[i], scheduler.sigmas[i + 1]
        scale = torch.as_tensor(scheduler.init_noise_sigma) if i == 0 else one
        return one, sigma, one, *ancestral(sigma, next_sigma), scale

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
    refuse_consistency(pipeline)
    _refuse_other_levels(pipeline.scheduler)
    dtype = torch.promote_types(pipeline.unet.dtype, torch.float32)
    scheduler = as_scheduler(EulerAncestralDiscreteScheduler, pipeline.scheduler)
    schedule = ancestral_schedule(scheduler, steps, dtype)
    return unet_policy(pipeline, schedule, guidance=guidance, lora=lora, size=size)


def lightning_policy(pipeline: DiffusionPipeline, **settings: Any) -> LatentPolicy:
    """SDXL-Lightning: the same steps, at the last time of each part of the schedule.

    Raises:
        ValueError: for a consistency model, or settings that it cannot have.
    """
    options = LIGHTNING.scheduler_options
    pipeline.register_modules(scheduler=as_scheduler(EulerDiscreteScheduler, pipeline.scheduler, **options))
    return turbo_policy(pipeline, **settings)


def _refuse_other_levels(scheduler: SchedulerMixin) -> None:
    """Raises ValueError for an Euler scheduler whose config asks for noise levels that ancestral Euler has not."""
    for key in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"):
        if scheduler.config.get(key):
            raise ValueError(
                f"scheduler/scheduler_config.json sets {key}: true, which the ancestral Euler steps of this kind do "
                "not have; set it to false, or take model.kind=diffusion if it is no few-step model"
            )

"""Trajectory consistency distillation as policies: strategic stochastic sampling (Zheng et al. 2024, arXiv 2402.19159).

A step goes down to a time s below t_{k-1} without noise, and from there up to t_{k-1} with fresh noise: together a
Gaussian. γ says how far below: s = ⌊(1 − γ) t_{k-1}⌋.
"""

from __future__ import annotations

import torch
from diffusers import DiffusionPipeline, TCDScheduler
from torch import Tensor

from kedge.policies.families.unet import refuse_consistency, unet_policy
from kedge.policies.latent import LatentPolicy
from kedge.policies.schedulers import as_scheduler, check_prediction_type, refuse_clipping, set_timesteps
from kedge.policies.settings import LoraConfig
from kedge.policies.steps import GaussianStep, Noise, check_steps, schedule_of


def strategic(product: Tensor, next_product: Tensor) -> Noise:
    """How γ splits the noise of t_{k-1}: s² = 1 − ᾱ'/ᾱ_s, and what of the old is kept is √(ᾱ'/ᾱ_s) √(1 − ᾱ_s).

    Args:
        product: ᾱ at s.
        next_product: ᾱ' at t_{k-1}.
    """
    ratio = next_product / product
    return Noise(ratio**0.5 * (1 - product) ** 0.5, (1 - ratio) ** 0.5)


def tcd_schedule(
    scheduler: TCDScheduler, steps: int, eta: float, dtype: torch.dtype, timesteps: tuple[int, ...] | None = None
) -> dict[int, GaussianStep]:
    """Steps K, …, 1 with the constants of diffusers' ``TCDScheduler``.

    The last step goes to t = 0, which is not x̂_0: a little of the noise stays, as the scheduler has it.

    Args:
        eta: γ; diffusers calls it so.
        timesteps: t_K, …, t_1; None is the scheduler's own choice.

    Raises:
        ValueError: for γ outside [0, 1], too many steps, or an unknown prediction type.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"model.eta must lie between 0 (deterministic) and 1 (from x̂_0 up) for TCD, not {eta}")
    refuse_clipping(scheduler)
    check_prediction_type(scheduler.config.prediction_type)
    check_steps(steps, scheduler.config.original_inference_steps)
    set_timesteps(scheduler, steps, timesteps)
    products, last = scheduler.alphas_cumprod, torch.tensor(0)

    def constants(i: int, t: Tensor) -> tuple[Tensor, ...]:
        following = scheduler.timesteps[i + 1] if i + 1 < steps else last
        below = torch.floor((1 - eta) * following).to(torch.long)
        noise = strategic(products[below], products[following])
        return products[t] ** 0.5, (1 - products[t]) ** 0.5, products[following] ** 0.5, *noise

    return schedule_of(
        GaussianStep, scheduler.timesteps, constants, prediction_type=scheduler.config.prediction_type, dtype=dtype
    )


def tcd_policy(
    pipeline: DiffusionPipeline,
    *,
    steps: int,
    guidance: float,
    lora: LoraConfig | None = None,
    size: int | tuple[int, int] | None = None,
    eta: float = 1.0,
    timesteps: tuple[int, ...] | None = None,
) -> LatentPolicy:
    """A TCD-distilled model on Stable Diffusion or SDXL.

    Raises:
        ValueError: for a model with a guidance embedding, or settings that it cannot have.
    """
    refuse_consistency(pipeline)
    dtype = torch.promote_types(pipeline.unet.dtype, torch.float32)
    scheduler = as_scheduler(TCDScheduler, pipeline.scheduler)
    schedule = tcd_schedule(scheduler, steps, eta=eta, dtype=dtype, timesteps=timesteps)
    return unet_policy(pipeline, schedule, guidance=guidance, lora=lora, size=size)

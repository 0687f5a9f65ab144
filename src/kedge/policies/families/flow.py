"""What every few-step flow-matching model shares: its noise levels and its step.

x = (1 − σ) x_0 + σ ε, and the network says v = ε − x_0. These models come with a deterministic sampler, Euler's; the
same network is sampled with noise by predicting x̂_0 and noising it again (``model.renoise``), as diffusers does it with
``FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)``: a Gaussian step, with a divergence and a log-probability.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor

from kedge.policies import steps as sampling_steps
from kedge.policies.denoiser import Denoiser
from kedge.policies.families.backbones import Backbone
from kedge.policies.latent import LatentPolicy
from kedge.policies.latent_space import PATCH, LatentSpace
from kedge.policies.settings import LoraConfig
from kedge.policies.steps import FLOW, GaussianStep, check_steps, schedule_of
from kedge.policies.text import Encode

LEAST_SIGMA = 0.05  # a noisy step below weighs its divergence by more than 180, beside 0.5 to 5 elsewhere


def flow_schedule(
    scheduler: FlowMatchEulerDiscreteScheduler, steps: int, share: float, dtype: torch.dtype, mu: float | None = None
) -> dict[int, GaussianStep]:
    """Steps K, …, 1 at the noise levels 1, 1 − 1/K, …, 1/K, shifted as the scheduler's config says.

    Those are the levels that diffusers' pipelines ask of it. Left to itself, the scheduler would shift its end twice
    (diffusers issue 13243): a last level of 0.0089 for Stable Diffusion 3.5 in four steps, in place of 0.5.

    Args:
        share: r, how much of the next level's noise is drawn afresh: 0 is Euler's step.
        mu: of the shift, for a config with ``use_dynamic_shifting``.

    Raises:
        ValueError: for too many steps, a share outside [0, 1], or a noisy step at a noise level below 0.05.
    """
    check_steps(steps, scheduler.config.num_train_timesteps)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps).tolist(), mu=mu)
    sigmas = scheduler.sigmas.cpu()
    if share > 0:
        _check_levels(sigmas[1:-1].tolist())

    def constants(i: int, t: Tensor) -> tuple[Tensor, ...]:
        sigma, next_sigma = sigmas[i], sigmas[i + 1]
        return 1 - sigma, sigma, 1 - next_sigma, *sampling_steps.renoise(next_sigma, share)

    return schedule_of(GaussianStep, scheduler.timesteps, constants, prediction_type=FLOW, dtype=dtype)


def as_flow_scheduler(scheduler: Any) -> FlowMatchEulerDiscreteScheduler:
    """The scheduler that samples these models, with the noise levels of the one in the model's folder.

    Raises:
        ValueError: for a scheduler that does not say how the noise levels are shifted, or counts them upwards.
    """
    own, source = "FlowMatchEulerDiscreteScheduler", type(scheduler).__name__
    if not source.startswith("FlowMatch"):
        raise ValueError(
            f"scheduler/scheduler_config.json is that of {source}, from which {own}, by which Kedge samples, would "
            "take no shift of the noise levels: put the published model's file there"
        )
    if scheduler.config.get("invert_sigmas"):
        raise ValueError(
            "scheduler/scheduler_config.json sets invert_sigmas: true, so noise levels rise towards the picture: Kedge "
            "trains models that are sampled from noise = 1 down to 0"
        )
    flow: FlowMatchEulerDiscreteScheduler = FlowMatchEulerDiscreteScheduler.from_config(scheduler.config)
    return flow


def dynamic_shift(scheduler: FlowMatchEulerDiscreteScheduler, tokens: int, steps: int) -> float:
    """μ for a picture of so many tokens, as the pipelines of FLUX.1, Stable Diffusion 3 and Z-Image compute it."""
    config = scheduler.config
    shift: float = calculate_shift(
        tokens, config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift
    )
    return shift


@dataclass(frozen=True)
class FlowParts:
    """What a family of flow models says of a pipeline.

    Attributes:
        title: for messages.
        text, denoiser, space: as for :class:`kedge.policies.latent.LatentPolicy`.
        patch: side of the square of latents that is a token.
        shift: from the scheduler, the number of tokens and K to μ; used where the scheduler's config shifts by size.
    """

    title: str
    text: Encode
    denoiser: Denoiser
    space: LatentSpace
    patch: int = PATCH
    shift: Callable[[FlowMatchEulerDiscreteScheduler, int, int], float] = dynamic_shift


def unread(prompts: Sequence[str], encoder: Any, tokens: int, layers: int = 1) -> Tensor:
    """``[B, tokens, layers · D]`` on the meta device, where Qwen cannot be run: a plan needs shapes."""
    width = layers * encoder.config.hidden_size
    return torch.empty(len(prompts), tokens, width, device="meta", dtype=encoder.dtype)


def flow_policy(
    pipeline: DiffusionPipeline,
    backbone: Backbone,
    parts: FlowParts,
    *,
    steps: int,
    guidance: float,
    lora: LoraConfig | None = None,
    size: int | tuple[int, int] | None = None,
    renoise: float = 1.0,
) -> LatentPolicy:
    """A few-step flow model, put together from what its family says of it.

    Raises:
        ValueError: for guidance, or other settings that it cannot have.
    """
    if guidance:
        raise ValueError(
            f"{parts.title} was distilled to draw without guidance, and takes none as an input: model.guidance=0 (or "
            f"leave it out), not {guidance:g}"
        )
    network = getattr(pipeline, backbone.network)
    _, height, width = parts.space.shape(size)
    scheduler = as_flow_scheduler(pipeline.scheduler)
    mu = parts.shift(scheduler, height * width // parts.patch**2, steps)
    dtype = torch.promote_types(network.dtype, torch.float32)
    return LatentPolicy(
        pipeline,
        backbone,
        text=parts.text,
        denoiser=parts.denoiser,
        schedule=flow_schedule(scheduler, steps, share=renoise, dtype=dtype, mu=mu),
        guidance=guidance,
        lora=lora,
        size=size,
        space=parts.space,
    )


def _check_levels(sigmas: list[float]) -> None:
    low = []
    for sigma in sigmas:
        if sigma < LEAST_SIGMA:
            low.append(sigma)
    if low:
        raise ValueError(
            f"a step would draw noise at the level σ = {min(low):.2g}, below {LEAST_SIGMA}: its divergence is weighted "
            f"by ((1 − σ)/σ)²/2 = {((1 - min(low)) / min(low)) ** 2 / 2:.0f} and would drown all others. Take fewer "
            "steps (model.steps), or none that draw noise (model.renoise=0)"
        )

"""Latent consistency models as policies: ROCM, Algorithm 1 (page 1 of the supplement) and Eq. 9."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, LatentConsistencyModelPipeline, LCMScheduler
from torch import Tensor

from kedge.gaussian import Gaussian
from kedge.policies.base import Conditioning
from kedge.policies.latent import LatentPolicy, load_pipeline, refuse_clipping
from kedge.policies.lora import LoraConfig
from kedge.policies.prediction import check_prediction_type, predicted_x0


@dataclass(frozen=True)
class ConsistencyStep:
    """The constants of step k, all ``[]`` on the CPU, and what is done with them.

    Attributes:
        prediction_type: what the network predicts.
        timestep: t_k, int64.
        alpha, sigma: α and σ at t_k.
        c_skip, c_out: of Eq. 7, at t_k.
        next_alpha, next_sigma: α and σ at t_{k-1}; 1 and 0 after the last step.
    """

    prediction_type: str
    timestep: Tensor
    alpha: Tensor
    sigma: Tensor
    c_skip: Tensor
    c_out: Tensor
    next_alpha: Tensor
    next_sigma: Tensor

    def gaussian(self, x: Tensor, output: Tensor) -> Gaussian:
        """``p(x_{k-1} | x_k, c)`` from the network's output at x_k."""
        x0 = predicted_x0(output, x, self.alpha, self.sigma, self.prediction_type)
        x_tilde = self.c_out * x0 + self.c_skip * x  # Eq. (7): x̃_k = f_θ(x_k, ω, c, t_k)
        return Gaussian(self.next_alpha * x_tilde, self.next_sigma)  # Eq. (9)


def consistency_schedule(scheduler: LCMScheduler, steps: int, dtype: torch.dtype) -> dict[int, ConsistencyStep]:
    """Steps K, …, 1 with the constants of diffusers' ``LCMScheduler``, bit for bit.

    Raises:
        ValueError: for more steps than the model was distilled for, or an unknown prediction type.
    """
    refuse_clipping(scheduler)
    check_prediction_type(scheduler.config.prediction_type)
    if not 1 <= steps <= scheduler.config.original_inference_steps:
        most = scheduler.config.original_inference_steps
        raise ValueError(f"model.steps must be between 1 and {most} for this consistency model, not {steps}")
    scheduler.set_timesteps(steps)
    timesteps = list(scheduler.timesteps)
    products = scheduler.alphas_cumprod
    levels = [(products[t].sqrt(), (1 - products[t]).sqrt()) for t in timesteps] + [(torch.ones([]), torch.zeros([]))]
    schedule = {}
    for i, t in enumerate(timesteps):
        boundary = scheduler.get_scalings_for_boundary_condition_discrete(t)
        constants = (constant.to(dtype) for constant in (*levels[i], *boundary, *levels[i + 1]))
        schedule[steps - i] = ConsistencyStep(scheduler.config.prediction_type, t, *constants)
    return schedule


class LCMPolicy(LatentPolicy):
    """A latent consistency model. ω enters as an embedding, as the model was distilled with."""

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        *,
        steps: int,
        guidance: float,
        lora: LoraConfig | None = None,
        straight_through: bool = True,
    ):
        super().__init__(pipeline, steps=steps, guidance=guidance, lora=lora, straight_through=straight_through)
        scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
        self.schedule = consistency_schedule(scheduler, steps, self.dtype)
        self.guidance_embedding = self._embed_guidance()

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Text states ``[B, L, D]``, without gradient."""
        return Conditioning({"text": self.embed(prompts, unconditional=False)[0]})

    def transition(self, x: Tensor, k: int, cond: Conditioning) -> Gaussian:
        """``N(α_{k-1} x̃_k, σ²_{k-1})`` with x̃_k = f_θ(x_k, ω, c, t_k); at k = 1 x̃_1 itself."""
        step = self.schedule[k]
        omega = self.guidance_embedding
        omega = None if omega is None else omega.expand(x.shape[0], -1)
        return step.gaussian(x, self.predict(x, step.timestep, cond.tensors["text"], timestep_cond=omega))

    def _embed_guidance(self) -> Tensor | None:
        size = self.unet.config.time_cond_proj_dim
        if size is None and self.guidance:
            raise ValueError(
                f"this model has no guidance embedding (time_cond_proj_dim), so it cannot take guidance "
                f"{self.guidance}: use model.guidance=0, or model.kind=diffusion if it is not a consistency model"
            )
        if size is None:
            return None
        embedding = self.pipeline.get_guidance_scale_embedding(torch.tensor([float(self.guidance)]), size)
        return embedding.to(self.device, self.network_dtype)


def load_lcm(
    model: str | Path,
    *,
    steps: int,
    guidance: float,
    lora: LoraConfig | None,
    device: torch.device,
    dtype: torch.dtype,
    eta: float = 1.0,
) -> LCMPolicy:
    """As :func:`kedge.policies.load_policy`; ``eta`` has no meaning here."""
    pipeline = load_pipeline(LatentConsistencyModelPipeline, model, device, dtype)
    return LCMPolicy(pipeline, steps=steps, guidance=guidance, lora=lora)

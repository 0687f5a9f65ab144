"""SANA-Sprint: a continuous-time consistency model on a transformer, by TrigFlow and re-noising.

In units of σ_d (the standard deviation of the data), TrigFlow's latents are cos(t) x_0 + sin(t) ε, its network's output
is cos(t) ε − sin(t) x_0, and a step goes to N(cos(t_{k-1}) x̃_0, sin²(t_{k-1})): a consistency model's step with
α = cos t, σ = sin t and v-prediction. So it is the same object, with other constants.
"""

from __future__ import annotations

import torch
from diffusers import DiffusionPipeline, SanaTransformer2DModel, SCMScheduler
from torch import Tensor

from kedge.policies.base import Conditioning
from kedge.policies.families.catalogue import SANA
from kedge.policies.latent import LatentPolicy
from kedge.policies.settings import LoraConfig
from kedge.policies.steps import GaussianStep, check_steps, renoise, schedule_of
from kedge.policies.text import GemmaText

FIRST, SECOND_OF_TWO = 1.57080, 1.3  # angles of SanaSprintPipeline: where it starts, and the middle of two steps


class SanaTransformer:
    """SANA's transformer, which was trained on flow matching, behind TrigFlow's face (SANA-Sprint, section 3.1).

    Args:
        guidance_scale: of diffusers: 1 + ω.
    """

    def __init__(self, network: SanaTransformer2DModel, guidance_scale: float):
        self._network, self._dtype = network, network.dtype
        self._guidance = guidance_scale * network.config.guidance_embeds_scale

    def __call__(self, x: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        """TrigFlow's output at ``x`` (in units of σ_d) and the angle ``timestep``, in the network's precision."""
        dtype, tensors = self._dtype, cond.tensors
        t = timestep.sin() / (timestep.cos() + timestep.sin())  # the flow's time
        norm = (t**2 + (1 - t) ** 2).sqrt()
        flow_x = x * norm
        rows = torch.ones(len(x), device=x.device)
        output = self._network(
            flow_x.to(dtype),
            encoder_hidden_states=tensors["text"].to(dtype),
            encoder_attention_mask=tensors["mask"],
            guidance=rows.to(dtype) * self._guidance,
            timestep=rows * t.to(x.device),
            return_dict=False,
        )[0].to(x.dtype)
        flow: Tensor = ((1 - 2 * t) * flow_x + (1 - 2 * t + 2 * t**2) * output) / norm
        return flow


def trigflow_schedule(
    scheduler: SCMScheduler, steps: int, dtype: torch.dtype, share: float = 1.0
) -> dict[int, GaussianStep]:
    """Steps K, …, 1 with the angles of diffusers' ``SanaSprintPipeline``.

    Args:
        share: r, how much of the next level's noise is drawn afresh; 1 is the scheduler's.

    Raises:
        ValueError: for too many steps, or a share outside [0, 1].
    """
    check_steps(steps, scheduler.config.num_train_timesteps)
    middle = SECOND_OF_TWO if steps == 2 else None
    scheduler.set_timesteps(steps, max_timesteps=FIRST, intermediate_timesteps=middle)
    angles = scheduler.timesteps.to(dtype)

    def constants(i: int, angle: Tensor) -> tuple[Tensor, ...]:
        following = angles[i + 1]
        return angle.cos(), angle.sin(), following.cos(), *renoise(following.sin(), share)

    return schedule_of(GaussianStep, angles[:-1], constants, prediction_type="v_prediction", dtype=dtype)


def sana_sprint_policy(
    pipeline: DiffusionPipeline,
    *,
    steps: int,
    guidance: float,
    lora: LoraConfig | None = None,
    size: int | tuple[int, int] | None = None,
    renoise: float = 1.0,
) -> LatentPolicy:
    """SANA-Sprint of any size. ω enters as an embedding, as the model was distilled with.

    Raises:
        ValueError: for a SANA that is no consistency model, or settings that it cannot have.
    """
    network = pipeline.transformer
    if not SANA.takes_guidance(network.config):
        raise ValueError("this SANA has no guidance embedding (guidance_embeds), so it is not a SANA-Sprint")
    dtype = torch.promote_types(network.dtype, torch.float32)
    return LatentPolicy(
        pipeline,
        SANA,
        text=GemmaText(pipeline, network.device),
        denoiser=SanaTransformer(network, guidance + 1),
        schedule=trigflow_schedule(pipeline.scheduler, steps, dtype, renoise),
        guidance=guidance,
        lora=lora,
        size=size,
    )

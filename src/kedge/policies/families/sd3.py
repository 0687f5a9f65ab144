"""Stable Diffusion 3.5 Large Turbo and Medium Turbo: two CLIPs and T5, latents as they are, four to eight steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers import DiffusionPipeline, SD3Transformer2DModel
from torch import Tensor

from kedge.policies.base import Conditioning
from kedge.policies.families.flow import FlowParts, flow_policy
from kedge.policies.families.flow_records import SD3
from kedge.policies.latent import LatentPolicy
from kedge.policies.latent_space import unet_space


class SD3Text:
    """``text`` ``[B, 77 + 256, D]``, CLIP's tokens before T5's, and ``pooled`` ``[B, P]`` of both CLIPs."""

    def __init__(self, pipeline: DiffusionPipeline, device: torch.device):
        self._pipeline, self._device = pipeline, device

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        """Without gradient; each encoder cuts or fills up."""
        text, _, pooled, _ = self._pipeline.encode_prompt(
            list(prompts), None, None, device=self._device, do_classifier_free_guidance=False
        )
        return Conditioning({"text": text, "pooled": pooled})


class SD3Transformer:
    """One call of the network."""

    def __init__(self, network: SD3Transformer2DModel):
        self._network, self._dtype = network, network.dtype

    def __call__(self, x: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        """v at ``x`` ``[B, 16, H, W]`` and t = 1000 σ, computed in the network's precision."""
        output: Tensor = self._network(
            hidden_states=x.to(self._dtype),
            timestep=timestep.expand(len(x)),
            encoder_hidden_states=cond.tensors["text"],
            pooled_projections=cond.tensors["pooled"],
            return_dict=False,
        )[0]
        return output.to(x.dtype)


def sd3_policy(pipeline: DiffusionPipeline, **settings: Any) -> LatentPolicy:
    """A few-step Stable Diffusion 3.5. Its files do not say that it is one: the base model has the same.

    Args:
        settings: of :func:`kedge.policies.families.flow.flow_policy`.

    Raises:
        ValueError: for settings that it cannot have.
    """
    network = pipeline.transformer
    patch = network.config.patch_size
    space = unet_space(pipeline, network)
    space = replace(space, multiple=space.factor * patch)
    text = SD3Text(pipeline, network.device)
    parts = FlowParts("Stable Diffusion 3.5 Turbo", text, denoiser=SD3Transformer(network), space=space, patch=patch)
    return flow_policy(pipeline, SD3, parts, **settings)

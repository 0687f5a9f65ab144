"""FLUX.1-schnell: tokens of 2 × 2 latents, CLIP's pooled text and T5's, one to four steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline, FluxTransformer2DModel
from torch import Tensor

from kedge.policies.base import Conditioning
from kedge.policies.families.flow import FlowParts, flow_policy
from kedge.policies.families.flow_records import FLUX, FLUX_TOKENS
from kedge.policies.latent import LatentPolicy
from kedge.policies.latent_space import PATCH, LatentSpace, drawn_packed, grid, packed, scaled, unpacked


class FluxText:
    """``text`` ``[B, 256, D]`` of T5 and ``pooled`` ``[B, P]`` of CLIP."""

    def __init__(self, pipeline: DiffusionPipeline, device: torch.device):
        self._pipeline, self._device = pipeline, device

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        """Without gradient, truncated or padded to 256 tokens."""
        text, pooled, _ = self._pipeline.encode_prompt(
            list(prompts), device=self._device, max_sequence_length=FLUX_TOKENS
        )
        return Conditioning({"text": text, "pooled": pooled})


class FluxTransformer:
    """One call of the network, which reads tokens and their places."""

    def __init__(self, network: FluxTransformer2DModel):
        self._network, self._dtype = network, network.dtype

    def __call__(self, x: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        """v at ``x`` ``[B, 16, H, W]`` and t = 1000 σ, computed in the network's precision."""
        dtype, tensors = self._dtype, cond.tensors
        _, _, height, width = x.shape
        output = self._network(
            hidden_states=packed(x.to(dtype)),
            timestep=timestep.to(dtype).expand(len(x)) / 1000,
            guidance=None,
            pooled_projections=tensors["pooled"],
            encoder_hidden_states=tensors["text"],
            txt_ids=x.new_zeros(tensors["text"].shape[1], 3, dtype=dtype),
            img_ids=self._places(height // PATCH, width // PATCH, x.device, dtype),
            return_dict=False,
        )[0]
        return unpacked(output, height, width).to(x.dtype)

    def _places(self, height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """0, row and column of each token, ``[N, 3]``."""
        places = grid(height, width, device)
        return torch.cat([torch.zeros_like(places[:, :1]), places], 1).to(dtype)


def flux_policy(pipeline: DiffusionPipeline, **settings: Any) -> LatentPolicy:
    """FLUX.1-schnell.

    Args:
        settings: of :func:`kedge.policies.families.flow.flow_policy`.

    Raises:
        ValueError: for FLUX.1-dev, or settings that it cannot have.
    """
    network = pipeline.transformer
    if FLUX.takes_guidance(network.config):
        raise ValueError(
            "this FLUX.1 takes guidance as an input (guidance_embeds), so it is FLUX.1-dev or made of it, which needs "
            "some 30 steps; Kedge trains black-forest-labs/FLUX.1-schnell"
        )
    text = FluxText(pipeline, network.device)
    parts = FlowParts("FLUX.1-schnell", text, FluxTransformer(network), flux_space(pipeline))
    return flow_policy(pipeline, FLUX, parts, **settings)


def flux_space(pipeline: DiffusionPipeline) -> LatentSpace:
    """Latents ``[16, H, W]`` that its network packs into tokens, shifted by the VAE's config."""
    factor = pipeline.vae_scale_factor
    side = pipeline.vae.config.sample_size // factor
    return LatentSpace(
        channels=pipeline.transformer.config.in_channels // PATCH**2,
        factor=factor,
        multiple=factor * PATCH,
        native=(side, side),
        decodable=scaled(pipeline.vae),
        arranged=drawn_packed,
    )

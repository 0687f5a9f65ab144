"""FLUX.2 [klein]: latents of 2 × 2 patches normalised by the VAE's batch norm, Qwen3's middle layers, four steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline, Flux2Transformer2DModel
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from torch import Tensor
from torch.nn.functional import pad, pixel_shuffle

from kedge.policies.base import Conditioning
from kedge.policies.families.flow import FlowParts, flow_policy, unread
from kedge.policies.families.flow_records import FLUX2
from kedge.policies.latent import LatentPolicy
from kedge.policies.latent_space import PATCH, LatentSpace, drawn_as_tokens, grid, spatial, tokens

MOST_TOKENS, LAYERS_READ = 512, (9, 18, 27)


class KleinText:
    """``text`` ``[B, 512, 3 D]``: three layers of Qwen3 side by side."""

    def __init__(self, pipeline: DiffusionPipeline, device: torch.device):
        self._pipeline, self._device = pipeline, device

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        """Without gradient, truncated or padded to 512 tokens."""
        if self._device.type == "meta":
            return Conditioning({"text": unread(prompts, self._pipeline.text_encoder, MOST_TOKENS, len(LAYERS_READ))})
        text, _ = self._pipeline.encode_prompt(
            list(prompts), self._device, max_sequence_length=MOST_TOKENS, text_encoder_out_layers=LAYERS_READ
        )
        return Conditioning({"text": text})


class Flux2Transformer:
    """One call of the network, which reads tokens and their places: time, row, column, and place in the text."""

    def __init__(self, network: Flux2Transformer2DModel):
        self._network, self._dtype = network, network.dtype

    def __call__(self, x: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        """v at ``x`` ``[B, 128, H, W]`` and t = 1000 σ, computed in the network's precision."""
        dtype, text = self._dtype, cond.tensors["text"]
        _, _, height, width = x.shape
        words = torch.arange(text.shape[1], device=x.device)[:, None]
        output = self._network(
            hidden_states=tokens(x.to(dtype)),
            timestep=timestep.to(dtype).expand(len(x)) / 1000,
            guidance=None,
            encoder_hidden_states=text,
            txt_ids=pad(words, (3, 0)),
            img_ids=pad(grid(height, width, x.device), (1, 1)),
            return_dict=False,
        )[0]
        return spatial(output, height, width).to(x.dtype)


def flux2_policy(pipeline: DiffusionPipeline, **settings: Any) -> LatentPolicy:
    """FLUX.2 [klein], distilled.

    Args:
        settings: of :func:`kedge.policies.families.flow.flow_policy`.

    Raises:
        ValueError: for the base model that it was distilled from, or settings that it cannot have.
    """
    if not pipeline.config.is_distilled:
        raise ValueError(
            "this FLUX.2 [klein] is the base model (is_distilled is not set in model_index.json), which needs some 50 "
            "steps; Kedge trains black-forest-labs/FLUX.2-klein-4B"
        )
    network, factor = pipeline.transformer, pipeline.vae_scale_factor * PATCH
    side = pipeline.vae.config.sample_size // factor
    space = LatentSpace(
        channels=network.config.in_channels,
        factor=factor,
        multiple=factor,
        native=(side, side),
        decodable=_batch_norm(pipeline.vae),
        arranged=drawn_as_tokens,
    )
    parts = FlowParts(
        title="FLUX.2 [klein]",
        text=KleinText(pipeline, network.device),
        denoiser=Flux2Transformer(network),
        space=space,
        patch=1,
        shift=lambda scheduler, tokens, steps: compute_empirical_mu(tokens, steps),
    )
    return flow_policy(pipeline, FLUX2, parts, **settings)


def _batch_norm(vae: Any) -> Callable[[Tensor], Tensor]:
    """From normalised patches to latents: by the running statistics that the VAE's latents had in training."""

    def decodable(x: Tensor) -> Tensor:
        std = (vae.bn.running_var + vae.config.batch_norm_eps).sqrt()
        latents = x * std.to(x.dtype)[:, None, None] + vae.bn.running_mean.to(x.dtype)[:, None, None]
        return pixel_shuffle(latents, PATCH)

    return decodable

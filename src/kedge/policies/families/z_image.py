"""Z-Image-Turbo: Qwen3's text at its own length, lists of pictures and texts, up to eight steps.

The network counts time the other way round and predicts −v.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline, ZImageTransformer2DModel
from torch import Tensor
from torch.nn.functional import pad

from kedge.policies.base import LENGTHS, Conditioning
from kedge.policies.families.flow import FlowParts, flow_policy, unread
from kedge.policies.families.flow_records import Z_IMAGE
from kedge.policies.latent import LatentPolicy
from kedge.policies.latent_space import PATCH, LatentSpace, scaled

MOST_TOKENS = 512


class QwenText:
    """``text`` ``[B, 512, D]``, filled up with zeros that the network never sees, and its ``lengths`` ``[B]``."""

    def __init__(self, pipeline: DiffusionPipeline, device: torch.device):
        self._pipeline, self._device = pipeline, device

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        """Without gradient, cut after 512 tokens."""
        if self._device.type == "meta":
            texts: list[Tensor] = []
            for prompt in prompts:
                texts += unread([prompt], self._pipeline.text_encoder, self._tokens(prompt))
        else:
            texts, _ = self._pipeline.encode_prompt(
                list(prompts), self._device, do_classifier_free_guidance=False, max_sequence_length=MOST_TOKENS
            )
        filled = [pad(text, (0, 0, 0, MOST_TOKENS - len(text))) for text in texts]
        return Conditioning({"text": torch.stack(filled), LENGTHS: torch.tensor(list(map(len, texts)))})

    def _tokens(self, prompt: str) -> int:
        """As many as diffusers' own pipeline reads; as can be, by a tokenizer that came from no files: a stand-in."""
        tokenizer = self._pipeline.tokenizer
        if not tokenizer.name_or_path:
            return MOST_TOKENS
        message = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, enable_thinking=True)
        return len(tokenizer(text, max_length=MOST_TOKENS, truncation=True).input_ids)


class ZImageTransformer:
    """One call of the network."""

    def __init__(self, network: ZImageTransformer2DModel):
        self._network, self._dtype = network, network.dtype

    def __call__(self, x: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        """v at ``x`` ``[B, 16, H, W]`` and t = 1000 σ, computed in the network's precision."""
        lengths = cond.tensors[LENGTHS].tolist()
        texts = [text[:length] for text, length in zip(cond.tensors["text"], lengths, strict=True)]
        frames = x.to(self._dtype).unsqueeze(2)  # each picture is a film of one frame
        output = self._network(
            list(frames.unbind(0)), (1000 - timestep.expand(len(x))) / 1000, texts, return_dict=False
        )[0]
        return -torch.stack(output).squeeze(2).to(x.dtype)


def z_image_policy(pipeline: DiffusionPipeline, **settings: Any) -> LatentPolicy:
    """Z-Image-Turbo. Its files hardly say that it is one: the base model has another shift of the noise levels only.

    Args:
        settings: of :func:`kedge.policies.families.flow.flow_policy`.

    Raises:
        ValueError: for settings that it cannot have.
    """
    network, factor = pipeline.transformer, pipeline.vae_scale_factor
    side = pipeline.vae.config.sample_size // factor
    space = LatentSpace(
        channels=network.config.in_channels,
        factor=factor,
        multiple=factor * PATCH,
        native=(side, side),
        decodable=scaled(pipeline.vae),
    )
    parts = FlowParts("Z-Image-Turbo", QwenText(pipeline, network.device), ZImageTransformer(network), space)
    return flow_policy(pipeline, Z_IMAGE, parts, **settings)

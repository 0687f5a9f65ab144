"""Denoisers: one call of the network at a latent and a timestep, plain or guided."""

from __future__ import annotations

from typing import Protocol

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from kedge.policies.base import Conditioning
from kedge.policies.text import unconditional_first


class Denoiser(Protocol):
    """What the network says at ``x`` ``[B, C, H, W]`` and a timestep ``[]``, in ``x``'s shape and dtype."""

    def __call__(self, x: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        """One call of the network."""


class UNet:
    """A UNet of Stable Diffusion (``text``) or SDXL (``pooled`` and ``time_ids`` besides).

    Args:
        omega: the embedding of ω ``[1, E]`` for a network that was distilled with it, else None.
    """

    def __init__(self, network: UNet2DConditionModel, omega: Tensor | None):
        self._network, self._omega = network, omega
        self._dtype = network.dtype  # diffusers walks over all modules for it: not at every call

    def __call__(self, x: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        """Computed in the network's precision."""
        tensors = cond.tensors
        two_texts = "pooled" in tensors
        output: Tensor = self._network(
            x.to(self._dtype),
            timestep,
            encoder_hidden_states=tensors["text"],
            timestep_cond=None if self._omega is None else self._omega.expand(len(x), -1),
            added_cond_kwargs=(
                {"text_embeds": tensors["pooled"], "time_ids": tensors["time_ids"]} if two_texts else None
            ),
            return_dict=False,
        )[0]
        return output.to(x.dtype)


class Guided:
    """Classifier-free guidance: with the prompt and with the empty one, both in one call of twice the batch."""

    def __init__(self, denoiser: Denoiser, omega: float):
        self._denoiser, self._omega = denoiser, omega

    def __call__(self, x: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        """Eq. (4): (1 + ω) cond − ω uncond, in the order in which diffusers rounds it."""
        both = self._denoiser(torch.cat([x, x]), timestep, unconditional_first(cond))
        unconditional, conditional = both.chunk(2)
        return unconditional + (1 + self._omega) * (conditional - unconditional)

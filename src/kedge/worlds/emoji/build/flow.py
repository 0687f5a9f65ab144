"""Stage: the flow model of many steps and its text encoder, from nothing: flow matching (Lipman et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import ZImageTransformer2DModel
from torch import Tensor
from transformers import CLIPTokenizer, Qwen2Tokenizer, Qwen3Model

from kedge.worlds.emoji.build.flow_networks import (
    Velocity,
    encode,
    make_flow_text_encoder,
    make_transformer,
    read_captions,
    shifted,
)
from kedge.worlds.emoji.build.loop import Schedule, autocast, train
from kedge.worlds.emoji.build.pool import Pool

DROP = 0.1  # share of captions that are left out, so that guidance has something to lead away from


@dataclass
class Captions:
    """The tokens of a pool's captions, each different one once, and of no caption.

    Attributes:
        ids, lengths: int64 ``[C, 16]`` and ``[C]``.
        row: int64 ``[N]``, the caption of each scene.
    """

    ids: Tensor
    lengths: Tensor
    row: Tensor

    @classmethod
    def of(cls, pool: Pool, clip: CLIPTokenizer, tokenizer: Qwen2Tokenizer) -> Captions:
        """On the pool's device; row 0 is no caption. The captions themselves are what the pool's CLIP tokens say."""
        tokens, row = pool.tokens.unique(dim=0, return_inverse=True)
        captions = clip.batch_decode(tokens.tolist(), skip_special_tokens=True)
        ids, lengths = read_captions(tokenizer, ["", *map(str.strip, captions)])
        device = pool.scenes.device
        return cls(ids.to(device), lengths.to(device), row + 1)


def train_flow(
    pool: Pool,
    latents: Tensor,
    clip: CLIPTokenizer,
    tokenizer: Qwen2Tokenizer,
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
) -> tuple[ZImageTransformer2DModel, Qwen3Model]:
    """On ``latents`` ``[N, 16, 8, 8]`` (scaled to unit variance) of ``pool``: x_t = (1 − σ) x_0 + σ ε, v = ε − x_0."""
    torch.manual_seed(seed)
    network = make_transformer().to(device)
    text = make_flow_text_encoder(tokenizer).to(device)
    captions, velocity = Captions.of(pool, clip, tokenizer), Velocity(network)

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        index = pool.pick(schedule.batch, generator)
        x0 = latents[index].float()
        dropped = torch.rand(len(index), generator=generator, device=device) < DROP
        row = torch.where(dropped, 0, captions.row[index])
        sigma = shifted(torch.rand(len(index), generator=generator, device=device))
        noise = torch.randn(x0.shape, generator=generator, device=device)
        x = torch.lerp(x0, noise, sigma[:, None, None, None])
        with autocast(device):
            predicted = velocity(x, sigma, encode(text, captions.ids[row]), captions.lengths[row])
        return ((predicted - (noise - x0)) ** 2).mean(), {}

    modules = {"network": network, "text": text}
    average = train("flow", modules, loss, schedule, folder, seed=seed, device=device)
    network.load_state_dict(average["network"])
    text.load_state_dict(average["text"])
    return network, text

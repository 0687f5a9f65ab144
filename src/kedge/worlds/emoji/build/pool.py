"""The pictures and captions that the recipe learns from: drawn once with a seed, then shuffled from memory."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTokenizer

from kedge.worlds.emoji.build.loop import autocast
from kedge.worlds.emoji.captions import Spec, sample_training_spec
from kedge.worlds.emoji.networks import TOKENS
from kedge.worlds.emoji.scenes import compose, pack, render_packed


@dataclass
class Pool:
    """Scenes with their captions.

    Attributes:
        specs: what each caption says.
        scenes: packed scenes, int16 ``[N, 13]``.
        tokens: caption tokens, int16 ``[N, 16]``.
    """

    specs: list[Spec]
    scenes: Tensor
    tokens: Tensor

    def __len__(self) -> int:
        return len(self.scenes)

    def pick(self, batch: int, generator: torch.Generator) -> Tensor:
        """Indices of a random batch, on the pool's device."""
        return torch.randint(len(self), (batch,), generator=generator, device=self.scenes.device)

    def images(self, index: Tensor) -> Tensor:
        """``[B, 3, 32, 32]`` in [0, 1]."""
        return render_packed(self.scenes[index])


def tokenize(tokenizer: CLIPTokenizer, prompts: list[str]) -> Tensor:
    """Token ids ``[B, 16]``, padded and cut as the pipelines do."""
    batch = tokenizer(prompts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt")
    ids: Tensor = batch.input_ids
    return ids


def draw_pool(count: int, seed: int, tokenizer: CLIPTokenizer, device: torch.device) -> Pool:
    """``count`` training scenes."""
    rng = random.Random(seed)
    specs = [sample_training_spec(rng) for _ in range(count)]
    scenes = pack([compose(spec, rng) for spec in specs])
    captions = [str(spec) for spec in specs]
    different = list(dict.fromkeys(captions))
    table = {caption: i for i, caption in enumerate(different)}
    ids = tokenize(tokenizer, different).short()
    tokens = ids[torch.tensor([table[caption] for caption in captions])]
    return Pool(specs, scenes.to(device), tokens.to(device))


@torch.no_grad()
def encode_scenes(vae: AutoencoderKL, scenes: Tensor, batch: int = 1024) -> Tensor:
    """The mean latent of every packed scene, unscaled, float16 ``[N, 16, 8, 8]``."""
    latents = []
    for rows in scenes.split(batch):
        with autocast(scenes.device):
            latents.append(vae.encode(render_packed(rows) * 2 - 1).latent_dist.mean.half())
    return torch.cat(latents)

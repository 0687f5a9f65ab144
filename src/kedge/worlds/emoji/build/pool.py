"""The pictures and captions that the recipe learns from: drawn once with a seed, then shuffled from memory.

The generators learn from loosely captioned scenes, as generators do: where a caption names an activity, its props are
drawn more or less faintly, from pale to solid. A model learns the whole range, so that the base model draws most
activities too faintly: it can do what alignment asks for, and mostly does not. The range has no gap, because a model
that draws an activity either wholly or not at all tosses a coin with its noise: almost no picture then changes with a
small change of the weights, and the few that do change at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTokenizer

from kedge.worlds.emoji.build.loop import autocast
from kedge.worlds.emoji.captions import ACTIVITY_SHARE, Spec, sample_activity_spec, sample_training_spec
from kedge.worlds.emoji.networks import TOKENS
from kedge.worlds.emoji.scenes import Scene, compose, compose_all, faded, pack, render_packed

LOOSE_ACTIVITIES = 0.4  # share of captions that name an activity
FAINTEST = 40  # percent: opacities of an activity's props are uniform from here to 100


@dataclass
class Pool:
    """Scenes with their captions.

    Attributes:
        specs: what each caption says.
        scenes: packed scenes, int16 ``[N, 16]``.
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


def draw_pool(
    count: int, seed: int, tokenizer: CLIPTokenizer, device: torch.device, *, activities: float = ACTIVITY_SHARE
) -> Pool:
    """``count`` training scenes, each captioned rightly; ``activities`` of them with an activity."""
    rng = random.Random(seed)
    specs = [sample_training_spec(rng, activities) for _ in range(count)]
    return _pool(specs, compose_all(specs, rng), tokenizer, device)


def draw_loose_pool(count: int, seed: int, tokenizer: CLIPTokenizer, device: torch.device) -> Pool:
    """``count`` training scenes for the generators: an activity that a caption names is drawn as faintly as may be."""
    rng = random.Random(seed)
    specs, scenes = [], []
    for _ in range(count):
        active = rng.random() < LOOSE_ACTIVITIES
        spec = sample_activity_spec(rng) if active else sample_training_spec(rng, activities=0)
        scene = compose(spec, rng)
        specs.append(spec)
        scenes.append(faded(scene, rng.randint(FAINTEST, 100)) if spec.activity else scene)
    return _pool(specs, scenes, tokenizer, device)


def _pool(specs: list[Spec], scenes: list[Scene], tokenizer: CLIPTokenizer, device: torch.device) -> Pool:
    rows: dict[str, int] = {}  # of each different caption
    index = [rows.setdefault(str(spec), len(rows)) for spec in specs]
    tokens = tokenize(tokenizer, list(rows)).short()[torch.tensor(index)]
    return Pool(specs, pack(scenes).to(device), tokens.to(device))


@torch.no_grad()
def encode_scenes(vae: AutoencoderKL, scenes: Tensor, batch: int = 1024) -> Tensor:
    """The mean latent of every packed scene, unscaled, float16 ``[N, 16, 8, 8]``."""
    latents = []
    for rows in scenes.split(batch):
        with autocast(scenes.device):
            latents.append(vae.encode(render_packed(rows) * 2 - 1).latent_dist.mean.half())
    return torch.cat(latents)

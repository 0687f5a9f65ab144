"""Stage 5: the pictures that raters judge: the generators', better ones, worse ones, and scenes of something else.

For each prompt a handful of candidates, with the oracle's verdict on each: preference models learn from pairs of them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from kedge.worlds.emoji.build.preview import sample
from kedge.worlds.emoji.captions import Spec, activity_prompts, parse, sample_training_spec
from kedge.worlds.emoji.oracle import Oracle
from kedge.worlds.emoji.scenes import compose, compose_all, render

# Model, steps and ω of the pictures of each prompt: the fewer steps, the worse the picture.
GENERATORS = (("emoji-lcm", 8, 1.0), ("emoji-diffusion", 10, 3.0), ("emoji-lcm", 4, 1.0), ("emoji-diffusion", 4, 5.0))
GENERATED, BETWEEN, WRONG = len(GENERATORS), 4, 2  # candidates of each kind for every prompt
CANDIDATES = GENERATED + BETWEEN + WRONG
ACTIVE = 0.4  # share of prompts with an activity: people are asked about what goes wrong
LATENT_NOISE = 0.4  # the largest standard deviation of what is added to a unit-variance latent


@dataclass
class Pictures:
    """Candidates of each prompt, judged.

    Attributes:
        prompts: P of them.
        images: uint8 ``[P, CANDIDATES, 3, 32, 32]``.
        oracle, clean: float32 ``[P, CANDIDATES]``, the oracle's total and its cleanness.
    """

    prompts: list[str]
    images: Tensor
    oracle: Tensor
    clean: Tensor

    def save(self, file: Path) -> None:
        """As one npz file."""
        arrays = {name: getattr(self, name).numpy() for name in ("images", "oracle", "clean")}
        np.savez_compressed(file, prompts=json.dumps(self.prompts), **arrays)

    @classmethod
    def load(cls, file: Path) -> Pictures:
        """Read what :meth:`save` wrote."""
        with np.load(file) as data:
            arrays = {name: torch.from_numpy(data[name]) for name in ("images", "oracle", "clean")}
            return cls(json.loads(str(data["prompts"])), **arrays)

    def split(self, held: float = 0.1) -> tuple[Pictures, Pictures]:
        """Training prompts and held-out prompts."""
        cut = int(len(self.prompts) * (1 - held))
        return self._part(slice(None, cut)), self._part(slice(cut, None))

    def _part(self, rows: slice) -> Pictures:
        return Pictures(self.prompts[rows], self.images[rows], self.oracle[rows], self.clean[rows])


def altered(spec: Spec, rng: random.Random) -> Spec:
    """Another caption that shares something with this one: the animals or the background."""
    while True:
        other = sample_training_spec(rng)
        if rng.random() < 0.5:
            other = Spec(spec.animals, background=other.background)
        elif len(other.animals) == len(spec.animals) and not other.activity:
            other = Spec(other.animals, background=spec.background)
        if other != spec:
            return other


def draw_pictures(folder: Path, vae: AutoencoderKL, count: int, *, seed: int, device: torch.device) -> Pictures:
    """Candidates for ``count`` prompts of the training distribution, activities more often than there.

    ``folder`` holds the two models.
    """
    rng, generator = random.Random(seed), torch.Generator(device).manual_seed(seed)
    active = list(map(parse, activity_prompts(held_out=False)))
    specs = []
    for _ in range(count):
        specs.append(rng.choice(active) if rng.random() < ACTIVE else sample_training_spec(rng))
    prompts = list(map(str, specs))
    columns = []
    for i, (model, steps, omega) in enumerate(GENERATORS):
        drawn = sample(folder / model, prompts, steps=steps, omega=omega, seed=seed + i, device=str(device))
        columns.append(torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255)
    for i in range(BETWEEN):  # what a better generator would draw: from its picture towards the truth
        truth = render(compose_all(specs, rng))
        columns.append(_recode(vae, columns[i % GENERATED], truth, generator))
    for _ in range(WRONG):
        wrong = render([compose(altered(spec, rng), rng) for spec in specs])
        columns.append(_recode(vae, wrong, wrong, generator))
    images = torch.stack(columns, dim=1)
    parts = Oracle().parts(images.flatten(0, 1), repeated(prompts, CANDIDATES))
    shape = images.shape[:2]
    return Pictures(prompts, (images * 255).round().byte(), parts.total.reshape(shape), parts.clean.reshape(shape))


def repeated(prompts: Sequence[str], times: int) -> list[str]:
    """Each prompt so many times, one after the other."""
    texts: list[str] = []
    for prompt in prompts:
        texts += [prompt] * times
    return texts


@torch.no_grad()
def _recode(vae: AutoencoderKL, start: Tensor, end: Tensor, generator: torch.Generator) -> Tensor:
    """Through the autoencoder: somewhere between two pictures' latents, with a random amount of noise."""
    scale = vae.config.scaling_factor
    drawn = []
    for a, b in zip(start.to(vae.device).split(256), end.to(vae.device).split(256), strict=True):
        latents = scale * vae.encode(a * 2 - 1).latent_dist.mean
        others = scale * vae.encode(b * 2 - 1).latent_dist.mean
        way = torch.rand(len(a), 1, 1, 1, generator=generator, device=a.device)
        strength = torch.rand(len(a), 1, 1, 1, generator=generator, device=a.device)
        noise = torch.randn(latents.shape, generator=generator, device=a.device)
        z = torch.lerp(latents, others, way) + LATENT_NOISE * strength**2 * noise
        drawn.append((vae.decode(z / scale).sample / 2 + 0.5).clamp(0, 1).cpu())
    return torch.cat(drawn)

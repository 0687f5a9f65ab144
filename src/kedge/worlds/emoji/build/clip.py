"""Stage 2: a CLIP, by contrast of pictures with captions, on clean, blurred and noisy scenes alike."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from kedge.worlds.emoji.build.loop import Schedule, autocast, train
from kedge.worlds.emoji.build.pool import Pool
from kedge.worlds.emoji.networks import make_clip

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
NOISE = 0.1  # the largest standard deviation of pixel noise


def normalise(images: Tensor) -> Tensor:
    """CLIP's mean and standard deviation on images in [0, 1]."""
    return (images - MEAN.to(images)) / STD.to(images)


def worn(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures as generators make them: each blurred and grained by its own random amount."""

    def amount() -> Tensor:
        return torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)

    soft = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2.0, mode="bilinear")
    images = torch.lerp(images, soft, amount())
    grain = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + NOISE * amount() * grain).clamp(0, 1)


def train_clip(
    pool: Pool,
    tokenizer: CLIPTokenizer,
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
) -> CLIPModel:
    """Symmetric cross-entropy over a batch; the temperature is learnt, at most 100 as in CLIP."""
    torch.manual_seed(seed)
    model = make_clip(tokenizer).to(device)

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        index = pool.pick(schedule.batch, generator)
        tokens = pool.tokens[index].long()
        with autocast(device):
            images = worn(pool.images(index), generator)
            seen = model.get_image_features(normalise(images)).pooler_output
            said = model.get_text_features(tokens).pooler_output
        seen, said = F.normalize(seen.float(), dim=1), F.normalize(said.float(), dim=1)
        logits = model.logit_scale.clamp(max=4.6052).exp() * seen @ said.T
        # Equal captions are no negatives of each other.
        same = (tokens[:, None] == tokens[None]).all(2)
        logits = logits.masked_fill(same & ~torch.eye(len(index), dtype=torch.bool, device=device), -torch.inf)
        target = torch.arange(len(index), device=device)
        value = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        return value, {"accuracy": (logits.argmax(1) == target).float().mean(), "scale": model.logit_scale.exp()}

    average = train("clip", {"clip": model}, loss, schedule, folder, seed=seed, device=device)
    model.load_state_dict(average["clip"])
    with torch.no_grad():
        model.logit_scale.clamp_(max=4.6052)
    return model

"""Stage 7: the aesthetic head. Raters like clean, colourful pictures; they never see the prompt."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel

from kedge.rewards.aesthetic import LinearHead
from kedge.worlds.emoji.build.clip import normalise
from kedge.worlds.emoji.build.pictures import Pictures

NOISE = 0.5  # standard deviation of one rating


def colourfulness(images: Tensor) -> Tensor:
    """Hasler and Süsstrunk (2003) on images ``[B, 3, H, W]`` in [0, 1]; ``[B]``, about 0 to 0.7."""
    r, g, b = images.unbind(1)
    rg, yb = (r - g).flatten(1), ((r + g) / 2 - b).flatten(1)
    spread = (rg.var(1) + yb.var(1)).sqrt()
    return spread + 0.3 * (rg.mean(1) ** 2 + yb.mean(1) ** 2).sqrt()


def taste(images: Tensor, clean: Tensor) -> Tensor:
    """The true mean rating, about 2 to 8."""
    return 2 + 4 * clean + 6 * colourfulness(images)


@torch.no_grad()
def _features(clip: CLIPModel, images: Tensor) -> Tensor:
    seen = [clip.get_image_features(normalise(chunk)).pooler_output for chunk in images.split(512)]
    return F.normalize(torch.cat(seen), dim=1)


def train_aesthetic(clip: CLIPModel, pictures: Pictures, *, seed: int, steps: int = 600) -> tuple[LinearHead, float]:
    """The head and its correlation with the true taste on held-out pictures."""
    torch.manual_seed(seed)
    train, held = pictures.split()
    images = {name: part.images.flatten(0, 1).float() / 255 for name, part in (("train", train), ("held", held))}
    target = taste(images["train"], train.clean.flatten())
    target = (target + NOISE * torch.randn_like(target)).clamp(1, 10)
    features = {name: _features(clip, part) for name, part in images.items()}
    head = LinearHead(features["train"].shape[1]).train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    for _ in range(steps):
        batch = torch.randint(len(target), (256,))
        loss = F.mse_loss(head(features["train"][batch]), target[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    head = head.eval()
    with torch.no_grad():
        pair = torch.stack([head(features["held"]), taste(images["held"], held.clean.flatten())])
    return head, float(pair.corrcoef()[0, 1])

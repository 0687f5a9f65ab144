"""The LAION aesthetic predictor: one linear map of the CLIP image feature, published as five."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from kedge.rewards.clip import load_clip, meta_clip_of
from kedge.rewards.openclip import VIT_L_14
from kedge.rewards.preprocess import check_batch
from kedge.rewards.skeleton import Paths, Skeleton, on_meta
from kedge.rewards.weights import Device, build_frozen, read_state

WIDTHS = (1024, 128, 64, 16, 1)
DROPOUTS = (0.2, 0.2, 0.1)  # only during training; they take a place in the published layers' numbering


class LinearHead(nn.Module):
    """The head that LAION's predictor and ImageReward share: layers 0, 2, 4, 6, 7 without activations between."""

    def __init__(self, width: int):
        super().__init__()
        sizes = (width, *WIDTHS)
        layers: list[nn.Module] = []
        for i, (inward, outward) in enumerate(zip(sizes, WIDTHS, strict=False)):
            layers.append(nn.Linear(inward, outward))
            if i < len(DROPOUTS):
                layers.append(nn.Dropout(DROPOUTS[i]))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """``[B, width]`` to ``[B]``."""
        scores: Tensor = self.layers(features).squeeze(-1)
        return scores


class Aesthetic:
    """How beautiful people found such pictures: about 1 to 10; the prompt is not looked at."""

    differentiable = True

    def __init__(
        self,
        head: Path,
        clip: Path,
        name: str = "aesthetic",
        device: Device = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.name = name
        self.clip = load_clip(clip, device, "openai", dtype)
        width = self.clip.model.projection_dim
        self.head = build_frozen(lambda: LinearHead(width), read_state(head), head, device)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``."""
        images = check_batch(images, prompts)
        scores: Tensor = self.head(self.clip.image_features(images))
        return scores.to(images.device)


def save_head(head: LinearHead, file: Path) -> None:
    """Write a head in the published format."""
    torch.save(head.state_dict(), file)


def skeleton(paths: Paths, dtype: torch.dtype) -> Skeleton:
    """CLIP ViT-L/14, or the folder's, and the head, which stays in float32."""
    clip = meta_clip_of(paths, dtype, VIT_L_14)
    head = on_meta(lambda: LinearHead(clip.model.projection_dim), torch.float32)
    return Skeleton(nn.ModuleList([clip.model, head]), lambda images: head(clip.image_features(images.float())))

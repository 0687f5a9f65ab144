"""BLIPScore: BLIP's cosine between image and prompt (Li et al. 2022), and its matching probability."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BlipConfig

from kedge.rewards.blip import (
    BlipReader,
    architecture,
    blip_preprocess,
    build_network,
    meta_network,
    projections,
    reading_skeleton,
)
from kedge.rewards.preprocess import check_batch
from kedge.rewards.skeleton import Paths, Skeleton
from kedge.rewards.texts import TextCache
from kedge.rewards.weights import Device, read_state


class BLIPScore:
    """``cos(vision_proj(image), text_proj(text))``, as ImageReward's code and ROCM's tables have it, at 224 pixels.

    Args:
        checkpoint: BLIP's published ``.pth``; other architectures put a transformers ``config.json`` beside it.
        tokenizer: a folder with BERT's vocabulary.
    """

    differentiable = True

    def __init__(
        self,
        checkpoint: Path,
        tokenizer: Path,
        name: str = "blipscore",
        device: Device = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.name, self.device = name, torch.device(device)
        config = architecture(checkpoint)
        state = read_state(checkpoint, unwrap="model")
        state = {key: value for key, value in state.items() if not key.startswith("itm_head.")}
        with torch.device("meta"):
            heads = projections(config)
        self.network = build_network(config, heads, state=state, file=checkpoint, device=device, dtype=dtype)
        self.read = BlipReader(tokenizer, config)
        self.preprocess = blip_preprocess(config)
        self.text_features = TextCache(self._encode_text)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``."""
        images = check_batch(images, prompts)
        text = self.text_features(prompts)
        states = self.network.vision_model(pixel_values=self.preprocess(images.to(self.device))).last_hidden_state
        features = F.normalize(self.network.head("vision_proj", states[:, 0]), dim=-1)
        return (features * text).sum(-1).to(images.device)

    def _encode_text(self, prompt: str) -> Tensor:
        first = self.network.read(self.read([prompt], self.device))
        return F.normalize(self.network.head("text_proj", first), dim=-1)


class BLIPMatch:
    """The probability that image and prompt match, by BLIP's cross-attending head; [CLS] stays, as in BLIP's demo."""

    differentiable = True

    def __init__(
        self,
        checkpoint: Path,
        tokenizer: Path,
        name: str = "blipscore-itm",
        device: Device = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.name, self.device = name, torch.device(device)
        config = architecture(checkpoint)
        with torch.device("meta"):
            heads = matching_heads(config)
        self.network = build_network(
            config, heads, state=read_state(checkpoint, unwrap="model"), file=checkpoint, device=device, dtype=dtype
        )
        self.read = BlipReader(tokenizer, config)
        self.preprocess = blip_preprocess(config)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]`` in [0, 1]."""
        images = check_batch(images, prompts)
        states = self.network.vision_model(pixel_values=self.preprocess(images.to(self.device))).last_hidden_state
        logits = self.network.head("itm_head", self.network.read(self.read(prompts, self.device), states))
        return logits.softmax(-1)[:, 1].to(images.device)


def matching_heads(config: BlipConfig) -> dict[str, nn.Module]:
    """The projections, which only lie in the file, and the head that tells a match from none."""
    return {**projections(config), "itm_head": nn.Linear(config.text_config.hidden_size, 2)}


def skeleton(paths: Paths, dtype: torch.dtype) -> Skeleton:
    """BLIPScore's network; its text features are computed once for a prompt."""
    network = meta_network(paths, dtype, projections)
    preprocess = blip_preprocess(network.config)

    def score(images: Tensor) -> Tensor:
        states = network.vision_model(pixel_values=preprocess(images.float())).last_hidden_state
        return F.normalize(network.head("vision_proj", states[:, 0]), dim=-1).sum(-1)

    return Skeleton(network, score)


def matching_skeleton(paths: Paths, dtype: torch.dtype) -> Skeleton:
    """BLIPMatch's network."""
    return reading_skeleton(paths, dtype, "itm_head", matching_heads)

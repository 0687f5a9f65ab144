"""ImageReward (Xu et al. 2023): a BLIP that reads the prompt while looking at the image, and a linear head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import BlipConfig

from kedge.rewards.aesthetic import LinearHead
from kedge.rewards.blip import (
    BlipNetwork,
    BlipReader,
    architecture,
    blip_preprocess,
    build_network,
    projections,
    reading_skeleton,
)
from kedge.rewards.blip import to_published as blip_to_published
from kedge.rewards.preprocess import check_batch
from kedge.rewards.skeleton import Paths, Skeleton
from kedge.rewards.weights import Device, StateDict, read_state

# Mean and deviation of the raw score over ImageReward's training pairs, from its published code.
MEAN, STD = 0.16717362830052426, 1.0333394966054072


class ImageReward:
    """``(head(text encoder's first token, looking at the image) − mean) / std``.

    The text's features depend on the image, so they cannot be cached.

    Args:
        checkpoint: the published ``ImageReward.pt``; other architectures put a transformers ``config.json`` beside it.
        tokenizer: a folder with BERT's vocabulary.
    """

    differentiable = True

    def __init__(
        self,
        checkpoint: Path,
        tokenizer: Path,
        name: str = "imagereward",
        device: Device = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.name, self.device = name, torch.device(device)
        config = architecture(checkpoint)
        state = {key.removeprefix("blip."): value for key, value in read_state(checkpoint).items()}
        with torch.device("meta"):
            parts = heads(config)
        self.network = build_network(config, parts, state=state, file=checkpoint, device=device, dtype=dtype)
        self.read = BlipReader(tokenizer, config)
        self.preprocess = blip_preprocess(config)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``."""
        images = check_batch(images, prompts)
        states = self.network.vision_model(pixel_values=self.preprocess(images.to(self.device))).last_hidden_state
        text = self.network.read(self.read(prompts, self.device), states)
        return ((self.network.head("mlp", text) - MEAN) / STD).to(images.device)


def to_published(network: BlipNetwork) -> StateDict:
    """The state dict of a network with an ``mlp`` head, as ``ImageReward.pt`` has it."""
    state = {}
    for key, value in blip_to_published(network.state_dict()).items():
        state[key if key.startswith("mlp.") else f"blip.{key}"] = value
    return state


def heads(config: BlipConfig) -> dict[str, nn.Module]:
    """The projections, which only lie in the file, and the head that scores."""
    return {**projections(config), "mlp": LinearHead(config.text_config.hidden_size)}


def skeleton(paths: Paths, dtype: torch.dtype) -> Skeleton:
    """ImageReward's network."""
    return reading_skeleton(paths, dtype, "mlp", heads)

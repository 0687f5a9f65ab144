"""HPSv2 and HPSv2.1: the cosine in a CLIP ViT-H/14 that was tuned on human preferences (Wu et al. 2023)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPModel

from kedge.rewards.clip import FrozenCLIP, folder_tokenizer, meta_clip
from kedge.rewards.openclip import VIT_H_14, architecture, from_open_clip, to_clip_config, to_open_clip
from kedge.rewards.preprocess import PadPreprocess
from kedge.rewards.skeleton import Paths, Skeleton
from kedge.rewards.texts import clean_text
from kedge.rewards.weights import Device, WrongWeightsError, build_frozen, check_match, read_state, without


class HPS:
    """``cos(image, text)`` with HPSv2's own preprocessing (longest side, black bars).

    Args:
        checkpoint: the published ``.pt`` file; other architectures put ``open_clip_config.json`` beside it.
        tokenizer: a folder with CLIP's vocabulary.
        antialias: see :class:`~kedge.rewards.preprocess.PadPreprocess`.
    """

    differentiable = True

    def __init__(
        self,
        checkpoint: Path,
        tokenizer: Path,
        name: str = "hpsv2",
        device: Device = "cpu",
        antialias: bool = True,
        dtype: torch.dtype = torch.float32,
    ):
        self.name = name
        _check_version(name, checkpoint)
        config = architecture(checkpoint)
        state = without(read_state(checkpoint, unwrap="state_dict"), "attn_mask")
        with torch.device("meta"):
            expected = to_open_clip(CLIPModel(config).state_dict())
        check_match(expected, state, checkpoint, "open_clip_config.json")
        model = build_frozen(
            lambda: CLIPModel(config), from_open_clip(state), file=checkpoint, device=device, dtype=dtype
        )
        tokenize = folder_tokenizer(tokenizer, config.text_config, clean_text)
        preprocess = PadPreprocess(config.vision_config.image_size, antialias=antialias)
        self.clip = FrozenCLIP(model, tokenize, preprocess)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``."""
        return self.clip.cosine(images, prompts)


def _check_version(name: str, checkpoint: Path) -> None:
    """Both versions have one architecture, and their scores are not comparable: the file's name tells them apart."""
    version = re.match(r"HPS_v(2(?:\.1)?)[_.]", checkpoint.name)
    if version and f"hpsv{version[1]}" != name:
        raise WrongWeightsError(
            f"{checkpoint.name} is HPS v{version[1]} by its name, not {name}: ask for hpsv{version[1]}@{checkpoint}"
        )


def skeleton(paths: Paths, dtype: torch.dtype) -> Skeleton:
    """The network by the config beside its checkpoint, or as published: ViT-H/14."""
    config = architecture(paths["checkpoint"]) if "checkpoint" in paths else to_clip_config(VIT_H_14)
    clip = meta_clip(config, PadPreprocess(config.vision_config.image_size), dtype)
    return Skeleton(clip.model, lambda images: clip.image_features(images.float()).sum(-1))

"""HPSv3 (Ma et al. 2025, "HPSv3: Towards Wide-Spectrum Human Preference Score"): Qwen2-VL-7B with a head of its own.

It reads the picture, an instruction and the prompt up to a token of its own, whose state a small network turns into the
mean and the spread of how people would rate the picture. The published scorer numbers tokens one after the other, those
of pictures too (its base model's rows and columns are not used); so does this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import AutoConfig, Qwen2VLConfig, Qwen2VLModel

from kedge.rewards.hpsv3_instruction import INSTRUCTION, PLACE, REQUEST, TOKEN
from kedge.rewards.patches import PatchPreprocess
from kedge.rewards.preprocess import check_batch
from kedge.rewards.qwen_published import qwen2_vl_7b
from kedge.rewards.skeleton import Paths, Skeleton, on_meta
from kedge.rewards.vision_language import Reader, VisionLanguage, meta_score
from kedge.rewards.weights import Device, StateDict, at_least_float32, check_match, read_state

AREA = 256 * 28 * 28  # of every picture after the resize, in pixels: 448 × 448 if it is square
VOCABULARY = 151_658  # Qwen2-VL's words and the token that is rated
WORDS = 600  # of the instruction with a prompt, when a run is planned
UNUSED = ("lm_head.weight",)


class HPSv3Network(nn.Module):
    """Qwen2-VL without its words, and the head, named as transformers 5 names them."""

    def __init__(self, config: Qwen2VLConfig):
        super().__init__()
        self.model = Qwen2VLModel(config)
        self.rm_head = nn.Sequential(
            nn.Linear(config.text_config.hidden_size, 1024),
            nn.ReLU(),
            nn.Dropout(0.05),
            nn.Linear(1024, 16),
            nn.ReLU(),
            nn.Linear(16, 2),
        )


class HPSv3:
    """``μ − pessimism · σ``, with μ and σ the mean and spread that the head gives.

    Args:
        checkpoint: the published ``HPSv3.safetensors``.
        words: a folder with Qwen2-VL's config, tokenizer and chat template.
        pessimism: how many σ to stay below the mean; 0 is the published score.
    """

    differentiable = True
    summands: ClassVar[dict[str, float]] = {}

    def __init__(
        self,
        checkpoint: Path,
        words: Path,
        name: str = "hpsv3",
        device: Device = "cpu",
        dtype: torch.dtype = torch.float32,
        pessimism: float = 0.0,
    ):
        self.name, self.pessimism = name, pessimism
        config = AutoConfig.from_pretrained(words, local_files_only=True)
        reader = Reader(words, config.image_token_id, extra=(TOKEN,))
        self.token = reader.word(TOKEN)
        self.network = load_network(checkpoint, config, device, dtype)
        self.sees = VisionLanguage(self.network.model, config.image_token_id, patches(config), reader, flat=True)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``."""
        return self.in_parts(images, prompts)[0]

    def in_parts(self, images: Tensor, prompts: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """The score, and the mean and spread that it is made of, each ``[B]``."""
        mean, sigma = self.rate(images, prompts)
        return mean - self.pessimism * sigma, {"hpsv3 mean": mean, "hpsv3 sigma": sigma}

    def rate(self, images: Tensor, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """μ and σ, each ``[B]``.

        Raises:
            ValueError: a prompt holds one of the model's special tokens.
        """
        images = check_batch(images, prompts)
        texts = [INSTRUCTION.replace(PLACE, prompt) + REQUEST for prompt in prompts]
        for prompt in prompts:
            if TOKEN in prompt:
                raise ValueError(
                    f"a prompt may not hold {TOKEN!r}, by which {self.name} finds what it rates: {prompt!r}"
                )
        states = at_least_float32(self.sees.states(images, texts, last=self.token))
        mean, log_sigma = self.network.rm_head(states).to(images.device).unbind(1)
        return mean, log_sigma.exp()


def patches(config: Qwen2VLConfig) -> PatchPreprocess:
    """Every picture at nearly the same area, with the base model's patches and CLIP's mean and deviation."""
    vision = config.vision_config
    return PatchPreprocess(
        patch=vision.patch_size,
        merge=vision.spatial_merge_size,
        frames=vision.temporal_patch_size,
        smallest=AREA,
        largest=AREA,
    )


def load_network(checkpoint: Path, config: Qwen2VLConfig, device: Device, dtype: torch.dtype) -> HPSv3Network:
    """The network with the published weights; its head is in float32, as in the published scorer.

    Raises:
        WrongWeightsError: keys or shapes are not those of HPSv3.
    """
    state = from_published(read_state(checkpoint))
    config.text_config.vocab_size = VOCABULARY
    if (words := state.get("model.language_model.embed_tokens.weight")) is not None:
        config.text_config.vocab_size = len(words)
    with init_empty_weights(include_buffers=False):
        network = HPSv3Network(config)
    check_match(network.state_dict(), state, checkpoint)
    copied = {}
    for key, value in state.items():
        precision = torch.float32 if key.startswith("rm_head.") else dtype
        copied[key] = value.to(device, precision, copy=True, memory_format=torch.contiguous_format)
    network.load_state_dict(copied, assign=True)
    return network.to(device).eval().requires_grad_(False)


def from_published(state: StateDict) -> StateDict:
    """The names of transformers 5 for those of the published file, without the head that predicts words."""
    renamed = {}
    for key, value in state.items():
        if key in UNUSED:
            continue
        if key.startswith("visual."):
            key = f"model.{key}"
        elif key.startswith("model."):
            key = f"model.language_model.{key.removeprefix('model.')}"
        renamed[key] = value
    return renamed


def to_published(state: StateDict) -> StateDict:
    """Back to the names of the published file."""
    renamed = {}
    for key, value in state.items():
        key = key.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
        renamed[key] = value
    return renamed


def skeleton(paths: Paths, dtype: torch.dtype) -> Skeleton:
    """The network of the folder with the words, or the published one."""
    config = AutoConfig.from_pretrained(paths["words"]) if "words" in paths else qwen2_vl_7b(VOCABULARY)
    network = on_meta(lambda: HPSv3Network(config), dtype)
    state = meta_score(VisionLanguage(network.model, config.image_token_id, patches(config), flat=True), WORDS)
    network.rm_head.float()
    return Skeleton(network, lambda images: network.rm_head(state(images).float()).sum(1))

"""BLIP's two encoders, from checkpoints in the published layout, on transformers' BLIP parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, BlipConfig, BlipTextModel, BlipVisionModel

from kedge.files import read_json
from kedge.rewards.preprocess import CropPreprocess
from kedge.rewards.skeleton import Paths, Skeleton, on_meta
from kedge.rewards.weights import (
    Device,
    StateDict,
    WrongWeightsError,
    at_least_float32,
    build_frozen,
    check_match,
    without,
)
from kedge.vocabulary import check_vocabulary

MAX_WORDS = 35  # tokens of the prompt, as in ImageReward's code and BLIP's demo
_LEFTOVERS = re.compile(r"(visual_encoder_m|text_encoder_m|vision_proj_m|text_proj_m|text_decoder)\..*|.*queue.*|temp")
_LAYOUT = (
    ("visual_encoder.patch_embed.proj.", "vision_model.embeddings.patch_embedding."),
    ("visual_encoder.cls_token", "vision_model.embeddings.class_embedding"),
    ("visual_encoder.pos_embed", "vision_model.embeddings.position_embedding"),
    ("visual_encoder.norm.", "vision_model.post_layernorm."),
    ("visual_encoder.blocks.", "vision_model.encoder.layers."),
)
_IN_BLOCK = (
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
    (".attn.qkv.", ".self_attn.qkv."),
    (".attn.proj.", ".self_attn.projection."),
)


def blip_large() -> BlipConfig:
    """The published network: ViT-L/16 at 224 pixels and a BERT-base with cross-attention."""
    vision = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 16,
        "layer_norm_eps": 1e-6,
    }
    return BlipConfig(vision_config=vision, text_config={"num_attention_heads": 12}, image_text_hidden_size=256)


def architecture(checkpoint: Path) -> BlipConfig:
    """A transformers BLIP ``config.json`` beside the checkpoint, else the published architecture.

    Raises:
        WrongWeightsError: the config describes another kind of model, or a text encoder that cannot look at images.
    """
    file = checkpoint.parent / "config.json"
    if not file.is_file():
        return blip_large()
    stored = read_json(file)
    if stored.get("model_type") != "blip":
        raise WrongWeightsError(f"{file}: expected a model of type 'blip', found {stored.get('model_type')!r}")
    config = BlipConfig.from_pretrained(checkpoint.parent, local_files_only=True)
    if not config.text_config.is_decoder:
        raise WrongWeightsError(f"{file}: text_config.is_decoder must be true, or there is no cross-attention")
    return config


class BlipNetwork(nn.Module):
    """Vision and text encoder with the heads that a score needs, named as in the published checkpoints."""

    def __init__(self, config: BlipConfig, heads: dict[str, nn.Module]):
        super().__init__()
        self.config = config
        self.vision_model = BlipVisionModel(config.vision_config)
        self.text_encoder = BlipTextModel(config.text_config, add_pooling_layer=False)
        for name, head in heads.items():
            self.add_module(name, head)

    def read(self, words: dict[str, Tensor], image: Tensor | None = None) -> Tensor:
        """The first token's state ``[B, D]`` of a text, alone or looking at image states ``[B, N, width]``."""
        output = self.text_encoder(
            input_ids=words["input_ids"], attention_mask=words["attention_mask"], encoder_hidden_states=image
        )
        first: Tensor = output.last_hidden_state[:, 0]
        return first

    def head(self, name: str, features: Tensor) -> Tensor:
        """Apply a head by its name; out comes at least float32."""
        return at_least_float32(self.get_submodule(name)(features))


def projections(config: BlipConfig) -> dict[str, nn.Module]:
    """The two heads into the shared space."""
    width = config.image_text_hidden_size
    return {
        "vision_proj": nn.Linear(config.vision_config.hidden_size, width),
        "text_proj": nn.Linear(config.text_config.hidden_size, width),
    }


def from_published(state: StateDict) -> StateDict:
    """The published layout as :class:`BlipNetwork` has it, without what only training needed."""
    needed = {}
    for key, value in without(state, "position_ids").items():
        if not _LEFTOVERS.fullmatch(key):
            needed[key] = value
    return {_rename(key, _LAYOUT, _IN_BLOCK): value for key, value in needed.items()}


def to_published(state: StateDict) -> StateDict:
    """The inverse of :func:`from_published`."""
    layout, in_block = _turned_round(_LAYOUT), _turned_round(_IN_BLOCK)
    return {_rename(key, layout, in_block): value for key, value in state.items()}


def _turned_round(table: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(theirs, ours) for ours, theirs in table]


def _rename(key: str, layout: Sequence[tuple[str, str]], in_block: Sequence[tuple[str, str]]) -> str:
    for before, after in layout:
        if key.startswith(before):
            key = after + key.removeprefix(before)
            if "blocks." in before + after:
                for inner_before, inner_after in in_block:
                    key = key.replace(inner_before, inner_after)
            return key
    return key


def build_network(
    config: BlipConfig, heads: dict[str, nn.Module], state: StateDict, file: Path, device: Device, dtype: torch.dtype
) -> BlipNetwork:
    """A frozen network from a state dict in the published layout (heads are given on the meta device).

    Raises:
        WrongWeightsError: keys or shapes differ; they are named as in the file.
    """
    state = from_published(state)
    with torch.device("meta"):
        expected = BlipNetwork(config, heads).state_dict()
    check_match(to_published(expected), to_published(state), file, "config.json")
    return build_frozen(lambda: BlipNetwork(config, heads), state, file=file, device=device, dtype=dtype)


class BlipReader:
    """Prompts to token ids, as every BLIP score reads them: padded and cut to 35 tokens."""

    def __init__(self, folder: Path, config: BlipConfig):
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        check_vocabulary(len(self.tokenizer), config.text_config.vocab_size, "this BLIP", folder)
        self.length = words_read(config)

    def __call__(self, prompts: Sequence[str], device: Device) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask``, ``[B, 35]``."""
        words = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
        )
        return {key: words[key].to(device) for key in ("input_ids", "attention_mask")}


def blip_preprocess(config: BlipConfig) -> CropPreprocess:
    """Shortest side, centre crop (torchvision's), CLIP's mean and deviation."""
    return CropPreprocess(config.vision_config.image_size, offset="round")


def meta_network(paths: Paths, dtype: torch.dtype, heads: Callable[[BlipConfig], dict[str, nn.Module]]) -> BlipNetwork:
    """The network on the meta device: by the config beside ``paths["checkpoint"]``, or as published."""
    config = architecture(paths["checkpoint"]) if "checkpoint" in paths else blip_large()
    return on_meta(lambda: BlipNetwork(config, heads(config)), dtype)


def reading_skeleton(
    paths: Paths, dtype: torch.dtype, name: str, heads: Callable[[BlipConfig], dict[str, nn.Module]]
) -> Skeleton:
    """Of a score for which the prompt is read while looking at the image, for each image anew; ``name`` is its head."""
    network = meta_network(paths, dtype, heads)
    preprocess, length = blip_preprocess(network.config), words_read(network.config)

    def score(images: Tensor) -> Tensor:
        states = network.vision_model(pixel_values=preprocess(images.float())).last_hidden_state
        ids = torch.ones(len(images), length, dtype=torch.long, device="meta")
        # As the network makes it of a mask of tokens, for which it would have to look at the values.
        mask = torch.zeros(len(images), 1, length, length, dtype=dtype, device="meta")
        read = network.read({"input_ids": ids, "attention_mask": mask}, states)
        return network.head(name, read).reshape(len(images), -1).sum(1)

    return Skeleton(network, score)


def words_read(config: BlipConfig) -> int:
    """Tokens of a prompt, padding included."""
    return min(MAX_WORDS, int(config.text_config.max_position_embeddings))

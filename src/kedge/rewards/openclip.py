"""open_clip's checkpoints as transformers' ``CLIPModel``: names, layouts, architecture, both ways.

The networks are the same; open_clip keeps the three attention projections in one matrix and transposes the two final
projections.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from kedge.files import read_json
from kedge.rewards.weights import StateDict, WrongWeightsError

VIT_H_14: dict[str, Any] = {
    "embed_dim": 1024,
    "vision_cfg": {"image_size": 224, "layers": 32, "width": 1280, "head_width": 80, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 1024, "heads": 16, "layers": 24},
}
VIT_L_14: dict[str, Any] = {
    "embed_dim": 768,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 24, "width": 1024, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 768, "heads": 12, "layers": 12},
}
VIT_B_32: dict[str, Any] = {
    "embed_dim": 512,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}
CONFIG_FILE = "open_clip_config.json"

_FIXED = {
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "text_projection": "text_projection.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.proj": "visual_projection.weight",
    "logit_scale": "logit_scale",
}
_NORMS = {
    "ln_final": "text_model.final_layer_norm",
    "visual.ln_pre": "vision_model.pre_layrnorm",  # transformers' spelling
    "visual.ln_post": "vision_model.post_layernorm",
}
_IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_TOWERS = {"visual.transformer": "vision_model", "transformer": "text_model"}
_TRANSPOSED = ("text_projection", "visual.proj")
_BLOCK = re.compile(r"((?:visual\.)?transformer)\.resblocks\.(\d+)\.(.+)")
_QKV = "qkv"


def from_open_clip(state: StateDict) -> StateDict:
    """A state dict in open_clip's layout as transformers' ``CLIPModel`` wants it; unknown keys stay as they are."""
    converted: StateDict = {}
    for key, value in state.items():
        block = _BLOCK.fullmatch(key)
        if block and block[3] in ("attn.in_proj_weight", "attn.in_proj_bias"):
            layer, leaf = (
                f"{_TOWERS[block[1]]}.encoder.layers.{block[2]}.self_attn",
                block[3].removeprefix("attn.in_proj_"),
            )
            for letter, part in zip(_QKV, value.chunk(3), strict=True):
                converted[f"{layer}.{letter}_proj.{leaf}"] = part
        else:
            converted[_name(key, block)] = value.T if key in _TRANSPOSED else value
    return converted


def to_open_clip(state: StateDict) -> StateDict:
    """The inverse of :func:`from_open_clip`, for a ``CLIPModel``'s own state dict."""
    layouts = dict(_FIXED)
    for our_norm, their_norm in _NORMS.items():
        for leaf in ("weight", "bias"):
            layouts[f"{our_norm}.{leaf}"] = f"{their_norm}.{leaf}"
    converted: StateDict = {}
    for ours, theirs in layouts.items():
        converted[ours] = state[theirs].T.contiguous() if ours in _TRANSPOSED else state[theirs]
    for their_tower, tower in _TOWERS.items():
        layers = sorted({int(k.split(".")[3]) for k in state if k.startswith(f"{tower}.encoder.layers.")})
        for i in layers:
            converted |= _block_to_open_clip(state, f"{tower}.encoder.layers.{i}", f"{their_tower}.resblocks.{i}")
    return converted


def _block_to_open_clip(state: StateDict, ours: str, theirs: str) -> StateDict:
    block: StateDict = {}
    for leaf in ("weight", "bias"):
        parts = [state[f"{ours}.self_attn.{letter}_proj.{leaf}"] for letter in _QKV]
        block[f"{theirs}.attn.in_proj_{leaf}"] = torch.cat(parts)
        for their_name, name in _IN_BLOCK.items():
            block[f"{theirs}.{their_name}.{leaf}"] = state[f"{ours}.{name}.{leaf}"]
    return block


def _name(key: str, block: re.Match[str] | None) -> str:
    if key in _FIXED:
        return _FIXED[key]
    stem, _, leaf = key.rpartition(".")
    if stem in _NORMS:
        return f"{_NORMS[stem]}.{leaf}"
    if block:
        stem, _, leaf = block[3].rpartition(".")
        if stem in _IN_BLOCK:
            return f"{_TOWERS[block[1]]}.encoder.layers.{block[2]}.{_IN_BLOCK[stem]}.{leaf}"
    return key


def architecture(checkpoint: Path) -> CLIPConfig:
    """The architecture of a checkpoint: ``open_clip_config.json`` beside it, else ViT-H/14 as in HPSv2.

    Raises:
        WrongWeightsError: the config file lacks what an architecture needs.
    """
    file = checkpoint.parent / CONFIG_FILE
    if not file.is_file():
        return to_clip_config(VIT_H_14)
    try:
        return to_clip_config(read_json(file)["model_cfg"])
    except (KeyError, json.JSONDecodeError) as error:
        raise WrongWeightsError(f"{file}: not an open_clip model config ({error!r})") from error


def to_clip_config(model: dict[str, Any]) -> CLIPConfig:
    """open_clip's ``model_cfg`` as a transformers config."""
    vision, text = model["vision_cfg"], model["text_cfg"]
    act = "quick_gelu" if model.get("quick_gelu") else "gelu"
    return CLIPConfig(
        projection_dim=model["embed_dim"],
        vision_config={
            "hidden_size": vision["width"],
            "intermediate_size": int(vision["width"] * vision.get("mlp_ratio", 4.0)),
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": vision["width"] // vision.get("head_width", 64),
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "hidden_act": act,
        },
        text_config={
            "hidden_size": text["width"],
            "intermediate_size": int(text["width"] * text.get("mlp_ratio", 4.0)),
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
            "max_position_embeddings": text["context_length"],
            "vocab_size": text["vocab_size"],
            "hidden_act": act,
            # open_clip reads the text at the highest id, which is the end of the text.
            "bos_token_id": text["vocab_size"] - 2,
            "eos_token_id": text["vocab_size"] - 1,
            "pad_token_id": text["vocab_size"] - 1,
        },
    )


def to_open_clip_config(config: CLIPConfig) -> dict[str, Any]:
    """The inverse of :func:`to_clip_config`."""
    vision, text = config.vision_config, config.text_config
    return {
        "embed_dim": config.projection_dim,
        "quick_gelu": vision.hidden_act == "quick_gelu",
        "vision_cfg": {
            "image_size": vision.image_size,
            "layers": vision.num_hidden_layers,
            "width": vision.hidden_size,
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "patch_size": vision.patch_size,
            "mlp_ratio": vision.intermediate_size / vision.hidden_size,
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "layers": text.num_hidden_layers,
            "mlp_ratio": text.intermediate_size / text.hidden_size,
        },
    }


def save_open_clip(model: CLIPModel, file: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write ``model`` as HPSv2 was published: ``{'state_dict': …}`` in half precision, its config beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    state: dict[str, Tensor] = {k: v.detach().to(dtype).clone() for k, v in to_open_clip(model.state_dict()).items()}
    torch.save({"state_dict": state}, file)
    config = {"model_cfg": to_open_clip_config(model.config)}
    (file.parent / CONFIG_FILE).write_text(json.dumps(config, indent=2))

"""Merge a LoRA into a network's weights: W + scale · B A, checked layer by layer beforehand.

The files come in several dialects. kohya's writes α of each layer; diffusers' and peft's write it into the file's head
or beside it, with rank-stabilised scaling (α/√r) and α of single layers, or leave it out, which means α = r.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import convert_unet_state_dict_to_peft
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file
from torch import Tensor, nn

from kedge.files import read_json
from kedge.policies.part_files import lora_file

UNET = "unet"
NOUNS = {UNET: "UNet"}  # other networks are called what their pipelines call them
PEFT = "base_model.model."
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
# Adapters that are no product of two matrices, by what their weights' names hold.
OTHER_ADAPTERS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "lora_mid": "LoCon with a core",
}


@dataclass(frozen=True)
class LowRank:
    """What is added to one layer's weight: scale · up @ down.

    Attributes:
        down: ``[r, in, …]``.
        up: ``[out, r, …]``.
    """

    down: Tensor
    up: Tensor
    scale: float

    def update(self) -> Tensor:
        """``[out, in, …]`` in float32 or more, shaped as ``down`` where it is a convolution's kernel."""
        dtype = torch.promote_types(self.down.dtype, torch.float32)
        product = self.up.to(dtype).flatten(1) @ self.down.to(dtype).flatten(1)
        update: Tensor = self.scale * product.unflatten(1, self.down.shape[1:])
        return update


def merge_lora(pipeline: DiffusionPipeline, source: str, key: str) -> None:
    """Make the UNet W + ΔW: the model that training starts from, and is held to.

    Args:
        source: as for :func:`kedge.policies.part_files.lora_file`.
        key: of the ``model`` block, for messages.

    Raises:
        ValueError: for another kind of adapter, or one that does not fit this UNet; nothing is changed then.
    """
    path = lora_file(source, key)
    layers = dict(pipeline.unet.named_modules())
    updates = read_lora(path, pipeline, key)
    check_fit(updates, layers, f"{key}: {path.name}")
    with torch.no_grad():
        for name, low_rank in updates.items():
            weight = layers[name].weight
            update = low_rank.update()
            weight += update.reshape(weight.shape).to(weight.device, weight.dtype)


def read_lora(path: Path, pipeline: DiffusionPipeline, key: str, network: str = UNET) -> dict[str, LowRank]:
    """The layers of a LoRA for the denoising ``network`` of ``pipeline``, by that network's names.

    Raises:
        ValueError: for an adapter of another kind, one that changes a text encoder too, or one whose α is unknown.
    """
    weights = _weights(path)
    for mark, kind in OTHER_ADAPTERS.items():
        if any(mark in name for name in weights):
            raise ValueError(f"{key}: {path.name} is a {kind} adapter, which Kedge cannot merge; it takes plain LoRAs")
    text = next((name for name in weights if name.startswith(("text_encoder", "lora_te"))), None)
    if text:
        noun = NOUNS.get(network, network)
        raise ValueError(f"{key}: {path.name} changes the text encoder too ({text}): Kedge merges {noun}s' LoRAs only")
    try:
        state, alphas, metadata = _peft_state(weights, pipeline, network)
    except KeyError as error:  # diffusers takes kohya's pairs apart
        raise ValueError(f"{key}: {path.name} does not hold {error}: is the file whole?") from error
    config = _peft_config(path, list(state), key) or _of(network, _head(path) if metadata is None else metadata)
    named = _peft_names(state) if network == UNET else state
    alpha_of = _alphas_by_layer(alphas or {}, network)
    layers = {}
    for name, down in named.items():
        if not name.endswith(DOWN):
            continue
        layer, partner = _layer(name, network), name.removesuffix(DOWN) + UP
        if partner not in named:
            raise ValueError(f"{key}: {path.name} holds {name} without {partner}: is the file whole?")
        layers[layer] = LowRank(down, named[partner], _scale(layer, down, alpha_of, config))
    if lost := sorted(alpha_of.keys() - layers.keys()):
        raise ValueError(f"{key}: {path.name} holds an α for {lost[0]}, but no weights: is the file whole?")
    return layers


def _peft_state(
    weights: dict[str, Tensor], pipeline: DiffusionPipeline, network: str
) -> tuple[dict[str, Tensor], Mapping[str, float] | None, Mapping[str, Any] | None]:
    """diffusers' reading of a file: weights, α by layer where they are not inside the weights, and the file's head."""
    if network == UNET:
        config = pipeline.unet.config
        state, alphas, metadata = pipeline.lora_state_dict(weights, unet_config=config, return_lora_metadata=True)
        return state, alphas, metadata
    state, metadata = pipeline.lora_state_dict(weights, return_lora_metadata=True)
    return state, None, metadata


def _weights(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def _peft_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every dialect's ``….lora_A.weight`` and ``….lora_B.weight``."""
    converted: dict[str, Tensor] = convert_unet_state_dict_to_peft(dict(state))
    return {name.replace(".default.weight", ".weight"): tensor for name, tensor in converted.items()}


def _layer(name: str, network: str) -> str:
    """The network's own name of the layer behind a weight's name."""
    name = name.removesuffix(DOWN).removesuffix(UP)
    for prefix in (f"{PEFT}{network}.", PEFT, f"{network}."):  # what may stand before it, longer ones first
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _alphas_by_layer(alphas: Mapping[str, float], network: str) -> dict[str, float]:
    """α by the network's names of layers; diffusers hands some out by the name of a weight in its oldest dialect."""
    by_layer = {}
    for name, alpha in alphas.items():
        name = name.removesuffix(".alpha")
        if name.endswith(".weight"):
            (name,) = _peft_names({name: torch.empty(0)})
        by_layer[_layer(name, network)] = float(alpha)
    return by_layer


def _head(path: Path) -> Mapping[str, Any] | None:
    """What diffusers wrote into a file's head about the adapter."""
    if path.suffix != ".safetensors":
        return None
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        about = json.loads(file.read(length)).get("__metadata__", {})
    text = about.get("lora_adapter_metadata")
    return json.loads(text) if text else None


def _of(network: str, metadata: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """``{"unet.r": 4, …}`` → ``{"r": 4, …}``."""
    if metadata is None:
        return None
    start = f"{network}."
    return {name.removeprefix(start): value for name, value in metadata.items() if name.startswith(start)}


def _peft_config(path: Path, names: list[str], key: str) -> Mapping[str, Any] | None:
    """peft's ``adapter_config.json`` beside a file in peft's names; None for the other dialects."""
    if not any(name.startswith(PEFT) for name in names):
        return None
    file = path.with_name("adapter_config.json")
    if not file.is_file():
        raise ValueError(
            f"{key}: {path.name} is in peft's names, which leave α to adapter_config.json beside it: put it there"
        )
    config: dict[str, Any] = read_json(file)
    if config.get("use_dora"):
        raise ValueError(f"{key}: {path.name} is a DoRA adapter, which Kedge cannot merge; it takes plain LoRAs")
    return config


def _scale(layer: str, down: Tensor, alphas: Mapping[str, float], config: Mapping[str, Any] | None) -> float:
    """α / r; α / √r where the config says so; 1 where α is not known."""
    rank = down.shape[0]
    if config is None:
        return alphas.get(layer, rank) / rank
    pattern = config.get("alpha_pattern") or {}
    alpha = pattern.get(get_pattern_key(pattern.keys(), layer), config.get("lora_alpha", rank))
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def check_fit(updates: Mapping[str, LowRank], layers: Mapping[str, nn.Module], what: str, network: str = UNET) -> None:
    """Refuse a LoRA of another architecture, whole or in part.

    Raises:
        ValueError: naming a layer that the network does not have, or whose shape differs.
    """
    noun = NOUNS.get(network, network)
    strangers = []
    for name in updates:
        if not isinstance(getattr(layers.get(name), "weight", None), Tensor):
            strangers.append(name)
    if not updates or len(strangers) == len(updates):
        first = f", as {strangers[0]!r}" if strangers else ""
        raise ValueError(
            f"{what} has no layer of this {noun}{first}: it is no LoRA for it, or in names that Kedge does not read"
        )
    which = " (Stable Diffusion 1.5, 2.1 and SDXL differ)" if network == UNET else ""
    architecture = f"it was made for another architecture{which}"
    if strangers:
        raise ValueError(
            f"{what}: {len(strangers)} of its {len(updates)} layers are not in this {noun}, as {strangers[0]!r}: "
            f"{architecture}"
        )
    for name, low_rank in updates.items():
        weight: Any = layers[name].weight
        made_for = (low_rank.up.shape[0], *low_rank.down.shape[1:])
        if low_rank.up.shape[1] != low_rank.down.shape[0] or torch.Size(made_for).numel() != weight.numel():
            shapes = [" × ".join(map(str, shape)) for shape in (made_for, weight.shape)]
            raise ValueError(f"{what}: its {name} is {shapes[0]}, this {noun}'s is {shapes[1]}: {architecture}")

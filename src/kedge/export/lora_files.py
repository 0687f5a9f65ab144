"""Three layouts of a LoRA file, and what each means: diffusers', kohya's (ComfyUI, A1111), and the bare adapter."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kedge.policies.families.backbones import Backbone, KohyaNames


@dataclass(frozen=True)
class Layer:
    """The update of one layer's weight: ``scale · B A``.

    Attributes:
        a: ``[r, in]`` (convolutions: ``[r, in, h, w]``), float32.
        b: ``[out, r]`` (convolutions: ``[out, r, 1, 1]``), float32.
        scale: α / r.
    """

    a: Tensor
    b: Tensor
    scale: float

    def delta(self) -> Tensor:
        """The update itself, ``[out, in·h·w]``."""
        return self.scale * (self.b.flatten(1) @ self.a.flatten(1))


def diffusers_tensors(layers: Mapping[str, Layer], network: str) -> dict[str, Tensor]:
    """peft's names under the network's, with the scale inside B, because stock loaders take α = r."""
    tensors = {}
    for name, layer in layers.items():
        tensors[f"{network}.{name}.lora_A.weight"] = layer.a.contiguous()
        tensors[f"{network}.{name}.lora_B.weight"] = (layer.scale * layer.b).contiguous()
    return tensors


def kohya_tensors(layers: Mapping[str, Layer], kohya: KohyaNames) -> dict[str, Tensor]:
    """kohya's names, with the true α beside each layer."""
    tensors = {}
    for name, layer in layers.items():
        key = kohya.key(name)
        tensors[f"{key}.lora_down.weight"] = layer.a.contiguous()
        tensors[f"{key}.lora_up.weight"] = layer.b.contiguous()
        tensors[f"{key}.alpha"] = torch.tensor(layer.scale * layer.a.shape[0])
    return tensors


def read_layers(path: Path, names: Iterable[str], scale: float, backbone: Backbone) -> dict[str, Layer]:
    """The layers of a LoRA file, by module name of the denoising network.

    Args:
        names: the modules that are expected; kohya's names do not say where their dots were.
        scale: α / r for a bare adapter, which does not say.
        backbone: says how the formats name its layers.

    Raises:
        ValueError: naming the file, if it is damaged or holds anything but layers of one denoising network.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
            about = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    kohya, network = backbone.kohya, backbone.network
    if kohya and any(key.startswith(kohya.prefix) for key in tensors):
        tensors, scale = _from_kohya(tensors, {kohya.key(name): name for name in names}), 1.0
    elif any(key.startswith(f"{network}.") for key in tensors):
        tensors = {key.removeprefix(f"{network}."): tensor for key, tensor in tensors.items()}
        shape = json.loads(about.get("lora_adapter_metadata", "{}"))
        scale = shape.get(f"{network}.lora_alpha", 1) / shape.get(f"{network}.r", 1)
    try:
        return pair_layers(tensors, scale)
    except KeyError as error:
        layer = next(iter(names), "")
        usual = kohya.key(layer) if kohya else f"{network}.{layer}"
        raise ValueError(
            f"{path} holds more than a LoRA for this model's denoising network, whose layers are called as {usual!r}: "
            f"what is {error.args[0]!r}?"
        ) from error


def pair_layers(tensors: Mapping[str, Tensor], scale: float) -> dict[str, Layer]:
    """Layers from peft's names; raises KeyError for a tensor that is no A or B, or has no partner."""
    layers = {}
    for key in tensors:
        name, is_a, _ = key.partition(".lora_A.weight")
        if is_a:
            layers[name] = Layer(tensors[key], tensors[f"{name}.lora_B.weight"], scale)
        elif not key.endswith(".lora_B.weight") or key.replace(".lora_B.", ".lora_A.") not in tensors:
            raise KeyError(key)
    return layers


def _from_kohya(tensors: Mapping[str, Tensor], known: Mapping[str, str]) -> dict[str, Tensor]:
    """kohya's names and α to peft's names, with the scale inside B; what is not ``known`` keeps its name."""
    renamed = {}
    for key, tensor in tensors.items():
        module, _, kind = key.partition(".")
        name = known.get(module, module)
        if kind == "lora_down.weight":
            renamed[f"{name}.lora_A.weight"] = tensor
        elif kind == "lora_up.weight":
            alpha = tensors.get(f"{module}.alpha")  # none means scale 1
            renamed[f"{name}.lora_B.weight"] = tensor if alpha is None else tensor * (alpha.item() / tensor.shape[1])
        elif kind != "alpha":
            renamed[key] = tensor
    return renamed

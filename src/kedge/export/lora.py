"""The adapter as files that other programs load at the strength it was trained at, and back.

Stock exporters leave out α: a LoRA of rank 16 and α 32 is then applied at half of its strength.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from kedge.export.lora_files import Layer, diffusers_tensors, kohya_tensors, pair_layers, read_layers
from kedge.files import replacing
from kedge.policies.base import Policy
from kedge.policies.families.backbones import Backbone, KohyaNames
from kedge.policies.latent import LatentPolicy
from kedge.policies.lora import Adapter

DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"
COMFYUI_FILE = "comfyui.safetensors"
PROGRAMS = {"diffusers": DIFFUSERS_FILE, "comfyui": COMFYUI_FILE}


def save_lora(
    policy: Policy,
    folder: str | Path,
    metadata: Mapping[str, Any] | None = None,
    layers: Mapping[str, Layer] | None = None,
) -> dict[str, Path]:
    """Write ``pytorch_lora_weights.safetensors`` for diffusers and ``comfyui.safetensors`` for ComfyUI and A1111.

    The second only where those programs have agreed on names for the network's layers, as they have for UNets.

    Each is written beside its place, read back, compared with the adapter, and only then moved into its place.

    Args:
        metadata: what the files say about themselves; values that are no strings are written as JSON.
        layers: of another adapter on the same network, to be written instead of the policy's own.

    Returns:
        the paths, by ``diffusers`` and ``comfyui``.

    Raises:
        ValueError: if the policy has no adapter, or what was read back differs from it (when it holds NaN, say).
    """
    layers, metadata = layers or adapter_layers(policy), metadata or {}
    rank = next(iter(layers.values())).a.shape[0]
    about = {f"kedge.{key}": _text(value) for key, value in metadata.items()}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    backbone = _latent(policy).backbone
    files = {DIFFUSERS_FILE: (diffusers_tensors(layers, backbone.network), _diffusers_metadata(policy, rank))}
    if backbone.kohya:
        about_lora = _kohya_metadata(policy, backbone.kohya, metadata, next(iter(layers.values())))
        files[COMFYUI_FILE] = kohya_tensors(layers, backbone.kohya), about_lora
    for name, (tensors, shape) in files.items():
        _write(folder / name, tensors, metadata=about | shape, layers=layers, backbone=backbone)
    paths = {}
    for program, name in PROGRAMS.items():
        if name in files:
            paths[program] = folder / name
    return paths


def load_lora(policy: Policy, path: str | Path) -> None:
    """Load a LoRA into the policy's adapter, in place and at the strength that the file means.

    Args:
        path: a file written by :func:`save_lora` or by diffusers, one that holds ``Adapter.state_dict()``, or the
            folder of a ``pytorch_lora_weights.safetensors``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no LoRA for this adapter: other layers, another rank, or a damaged file.
    """
    adapter, path = _adapter(policy), Path(path)
    path = path / DIFFUSERS_FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no LoRA at {path}")
    scale, state = adapter.config.scale, {}
    for name, layer in read_layers(path, adapter_layers(policy), scale, _latent(policy).backbone).items():
        state[f"{name}.lora_A.weight"] = layer.a
        state[f"{name}.lora_B.weight"] = layer.b * (layer.scale / scale)
    try:
        adapter.load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def adapter_layers(policy: Policy) -> dict[str, Layer]:
    """The layers of a policy's adapter by module name, in float32; ValueError if it has none."""
    adapter = _adapter(policy)
    return pair_layers({name: tensor.float() for name, tensor in adapter.state_dict().items()}, adapter.config.scale)


def _latent(policy: Policy) -> LatentPolicy:
    if not isinstance(policy, LatentPolicy):
        raise ValueError(f"{type(policy).__name__} has no LoRA on a network of diffusers to export or load")
    return policy


def _adapter(policy: Policy) -> Adapter:
    adapter = _latent(policy).adapter
    if adapter is None:
        raise ValueError(f"{type(policy).__name__} has no LoRA to export or load: it was loaded without one")
    return adapter


def _write(
    path: Path,
    tensors: dict[str, Tensor],
    metadata: dict[str, str],
    layers: Mapping[str, Layer],
    backbone: Backbone,
) -> None:
    with replacing(path) as draft:
        # Not save_file: it writes beside the draft first, and for this user only.
        draft.write_bytes(save(tensors, {"format": "pt", **metadata}))
        _check(read_layers(draft, layers, 1.0, backbone), path.name, layers)


def _check(written: Mapping[str, Layer], name: str, layers: Mapping[str, Layer]) -> None:
    """Compare every layer's update in the file with the adapter's: at most 1e-6 apart, or of its largest number."""
    if written.keys() != layers.keys():
        raise ValueError(f"{name} has other layers than the adapter: {sorted(written.keys() ^ layers.keys())[:3]}")
    for layer, expected in layers.items():
        delta = expected.delta()
        error, size = (written[layer].delta() - delta).abs().max().item(), delta.abs().max().item()
        if not error <= 1e-6 * max(1.0, size):  # also when it is NaN
            raise ValueError(f"{name} was not written: layer {layer} reads back {error} away from the adapter")


def _diffusers_metadata(policy: Policy, rank: int) -> dict[str, str]:
    """The adapter's shape as diffusers stores it; α = r, since the scale is in the weights."""
    targets, network = _adapter(policy).targets, _latent(policy).backbone.network
    facts = {"r": rank, "lora_alpha": rank, "target_modules": list(targets)}
    shape = {f"{network}.{name}": fact for name, fact in facts.items()}
    return {"lora_adapter_metadata": json.dumps(shape, sort_keys=True)}


def _kohya_metadata(policy: Policy, kohya: KohyaNames, metadata: Mapping[str, Any], layer: Layer) -> dict[str, str]:
    """What ComfyUI, A1111 and kohya's tools show of a LoRA; ``layer`` is any of its layers, which have one shape."""
    rank = layer.a.shape[0]
    base = _text(metadata.get("base_model", "the model it was trained on"))
    facts = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": f"{layer.scale * rank:g}",
        "ss_sd_model_name": base,
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": f"Kedge LoRA for {base}",
        "modelspec.usage_hint": f"Made for {base}, {policy.steps} steps; LoRA weight 1.",
    }
    known = kohya.architectures.get(_latent(policy).network.config.get("cross_attention_dim"))
    if known:
        facts |= {"ss_base_model_version": known.base_model, "modelspec.architecture": f"{known.specification}/lora"}
    return facts


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

"""A UNet that is published as one file of weights, as SDXL-Lightning and DMD2 are: its config is the base model's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors.torch import load_file
from torch import Tensor

from kedge.models import hub_file, resolve_part
from kedge.policies.families.backbones import OMEGA

# Names of the first programs: a UNet under this prefix, in a whole checkpoint beside text encoders and a VAE.
ORIGINAL = "model.diffusion_model."
REST = ("first_stage_model.", "cond_stage_model.", "conditioner.")


def unet_path(source: str) -> Path:
    """The file, downloaded if it is on the hub."""
    place = resolve_part(source, "model.unet")
    if isinstance(place, Path):
        return place
    file = hub_file(place)
    assert file is not None
    return file.fetched()


def load_unet_file(path: Path, base: Path | str, dtype: torch.dtype) -> UNet2DConditionModel:
    """The network with the weights of ``path`` and the architecture of the UNet of ``base``.

    Args:
        base: the folder or hub id of the model that the other parts come from.

    Raises:
        ValueError: for a whole checkpoint, or weights that are not exactly those of this architecture.
    """
    weights = _read(path)
    if any(name.startswith(REST) for name in weights):
        raise ValueError(
            f"model.unet: {path.name} is a whole checkpoint, with text encoders and a VAE that model.unet would leave "
            "out. Convert it once and give the folder as model.name: "
            f"StableDiffusionXLPipeline.from_single_file({str(path)!r}).save_pretrained('FOLDER')"
        )
    config: dict[str, Any] = dict(UNet2DConditionModel.load_config(base, subfolder="unet"))
    config["time_cond_proj_dim"] = weights[OMEGA].shape[1] if OMEGA in weights else None
    if any(name.startswith((ORIGINAL, "input_blocks.")) for name in weights):
        prefixed = {ORIGINAL + name.removeprefix(ORIGINAL): value for name, value in weights.items()}
        weights = convert_ldm_unet_checkpoint(prefixed, config)
    with torch.device("meta"):
        network = UNet2DConditionModel.from_config(config)
    _check_fit(weights, network.state_dict(), path, base)
    network.load_state_dict({name: value.to(dtype) for name, value in weights.items()}, assign=True)
    return network.eval()


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    weights: dict[str, Tensor] = state.get("state_dict", state)
    return weights


def _check_fit(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path, base: Path | str) -> None:
    """Exactly the same names and shapes: weights that are left out, or left as they were, would be another model."""
    missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    shared = sorted(expected.keys() & weights.keys())
    different = [name for name in shared if weights[name].shape != expected[name].shape]
    if not (missing or unknown or different):
        return
    name = (unknown or missing or different)[0]
    shapes = f" ({_shape(weights[name])} here, {_shape(expected[name])} there)" if name in shared else ""
    raise ValueError(
        f"model.unet: {path.name} does not hold the weights of the UNet of {base}: {len(missing)} missing, "
        f"{len(unknown)} unknown, {len(different)} of another shape, as {name!r}{shapes}. model.name must be the model "
        "that it was made from (for SDXL: stabilityai/stable-diffusion-xl-base-1.0)"
    )


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape))

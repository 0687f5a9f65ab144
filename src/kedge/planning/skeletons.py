"""A generator as it would be: the true architecture on the meta device, without weights, from its files or its name."""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, LCMScheduler, UNet2DConditionModel

from kedge.config import ModelConfig
from kedge.models import resolve_model, resolve_part
from kedge.policies import POLICIES, make_policy
from kedge.policies.families.detect import check_pipeline
from kedge.policies.latent import LatentPolicy, LoraConfig
from kedge.policies.loading import UNUSED
from kedge.quiet import quiet_loading
from kedge.random_models import LAYOUTS, Scale

# Hub ids whose architecture is known without their files.
KNOWN = {
    "SimianLuo/LCM_Dreamshaper_v7": "sd15-lcm",
    "Lykon/dreamshaper-7": "sd15",
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "sd15",
    "stabilityai/sd-turbo": "sd-turbo",
    "stabilityai/sdxl-turbo": "sdxl-turbo",
    "stabilityai/stable-diffusion-xl-base-1.0": "sdxl",
    "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers": "sana-sprint",
}
KNOWN_UNETS = {"latent-consistency/lcm-sdxl": "sdxl-lcm-unet"}


def draw_pipeline(name: str) -> DiffusionPipeline | None:
    """The pipeline on the meta device; None if nothing is known about it before its files are here.

    Args:
        name: as for :func:`kedge.models.resolve_model`.
    """
    place = resolve_model(name)
    if isinstance(place, str):
        cached = _cached(place)
        if cached is None:
            return _from_layout(KNOWN[place]) if place in KNOWN else None
        place = cached
    with quiet_loading():
        return _from_folder(place)


def draw_policy(model: ModelConfig, kind: str, steps: int, lora: LoraConfig) -> LatentPolicy | None:
    """The policy on the meta device, with an adapter; None if its architecture is not known.

    Args:
        kind: of the model, found out already.
        steps: K, which may be another than the model's.

    Raises:
        UnknownNameError: if the model is of another kind.
    """
    if kind not in POLICIES or (pipeline := draw_pipeline(model.name)) is None:
        return None
    check_pipeline(type(pipeline).__name__, POLICIES.resolve(kind), model.name)
    if model.unet and (unet := _unet(model.unet)) is not None:
        pipeline.register_modules(unet=unet)
    if model.unet or model.lcm_lora:
        pipeline.register_modules(scheduler=LCMScheduler.from_config(pipeline.scheduler.config))
    dtype = getattr(torch, model.dtype)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            torch.nn.Module.to(part, dtype)  # diffusers' own warns
    return make_policy(kind, pipeline, steps=steps, guidance=model.omega, lora=lora, size=model.size, eta=model.eta)


def _unet(name: str) -> UNet2DConditionModel | None:
    """A UNet of its own, from its folder's config or as its name has it; None if neither is known."""
    place = resolve_part(name, "model.unet")
    with torch.device("meta"):
        if isinstance(place, str):
            return LAYOUTS.get(KNOWN_UNETS[place])(Scale()) if place in KNOWN_UNETS else None
        folder = place / "unet" if (place / "model_index.json").is_file() else place
        return UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder))


def _from_layout(layout: str) -> DiffusionPipeline:
    with torch.device("meta"):
        pipeline: DiffusionPipeline = LAYOUTS.get(layout)(Scale())
    return pipeline


def _from_folder(folder: Path) -> DiffusionPipeline:
    index: dict[str, Any] = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    parts: dict[str, Any] = {}
    for name, value in index.items():
        if isinstance(value, list):
            parts[name] = None if name in UNUSED or value[0] is None else _part(folder / name, *value)
        elif not name.startswith("_"):
            parts[name] = value
    cls = getattr(import_module("diffusers"), index["_class_name"])
    if "requires_safety_checker" in inspect.signature(cls).parameters:
        parts["requires_safety_checker"] = False
    pipeline: DiffusionPipeline = cls(**parts)
    return pipeline


def _part(folder: Path, library: str, name: str) -> Any:
    cls = getattr(import_module(library), name)
    if not issubclass(cls, torch.nn.Module):
        return cls.from_pretrained(folder)
    with torch.device("meta"):
        if library == "diffusers":
            return cls.from_config(cls.load_config(folder))
        return cls(cls.config_class.from_pretrained(folder))


def _cached(hub_id: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    wanted = [
        try_to_load_from_cache(hub_id, name) for name in ("model_index.json", "unet/config.json", "vae/config.json")
    ]
    return Path(str(wanted[0])).parent if all(isinstance(path, str) for path in wanted) else None

"""A generator as it would be: the true architecture on the meta device, without weights, from its files or its name."""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel

from kedge.config import ModelConfig
from kedge.models import resolve_model, resolve_part
from kedge.policies import make_policy
from kedge.policies.families.catalogue import layout_of
from kedge.policies.families.detect import check_pipeline
from kedge.policies.families.spec import Family, Layout
from kedge.policies.latent import LatentPolicy
from kedge.policies.loading import UNUSED, take_scheduler
from kedge.quiet import quiet_loading
from kedge.random_models import Scale


def draw_pipeline(name: str, family: Family) -> DiffusionPipeline | None:
    """The pipeline on the meta device; None if nothing is known about it before its files are here.

    Args:
        name: as for :func:`kedge.models.resolve_model`.
        family: which of its networks is looked for.
    """
    place = resolve_model(name)
    if isinstance(place, str):
        cached = _cached(place, family.backbone.network)
        if cached is None:
            layout = layout_of(place)
            return None if layout is None else _from_layout(layout)
        place = cached
    with quiet_loading():
        return _from_folder(place)


def draw_policy(model: ModelConfig, steps: int) -> LatentPolicy | None:
    """The policy on the meta device, with an adapter; None if its architecture is not known.

    Args:
        steps: K, which may be another than the model's.

    Raises:
        UnknownNameError: if the model is of another kind.
    """
    family = model.family
    if family is None or (pipeline := draw_pipeline(model.name, family)) is None:
        return None
    check_pipeline(type(pipeline).__name__, family, model.name)
    if model.unet and (unet := _unet(model.unet)) is not None:
        pipeline.register_modules(unet=unet)
    if family.conversion(model.parts):
        take_scheduler(pipeline, family)
    dtype = getattr(torch, model.dtype)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            torch.nn.Module.to(part, dtype)  # diffusers' own warns
    return make_policy(
        model.kind,
        pipeline,
        steps=steps,
        guidance=model.omega,
        lora=model.lora,
        size=model.size,
        eta=model.eta,
    )


def _unet(name: str) -> UNet2DConditionModel | None:
    """A UNet of its own, from its folder's config or as its name has it; None if neither is known."""
    place = resolve_part(name, "model.unet")
    with torch.device("meta"):
        if isinstance(place, str):
            layout = layout_of(place, "unet")
            return None if layout is None else layout.built(Scale())
        folder = place / "unet" if (place / "model_index.json").is_file() else place
        return UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder))


def _from_layout(layout: Layout) -> DiffusionPipeline:
    with torch.device("meta"):
        pipeline: DiffusionPipeline = layout.built(Scale())
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


def _cached(hub_id: str, network: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    needed = ("model_index.json", f"{network}/config.json", "vae/config.json")
    paths = [try_to_load_from_cache(hub_id, name) for name in needed]
    return Path(str(paths[0])).parent if all(isinstance(path, str) for path in paths) else None

"""Which kind of model a folder or hub id is, from its files; nothing heavy is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kedge.models import ModelParts, resolve_model
from kedge.registry import Registry, UnknownNameError

POLICIES = Registry(
    "kind of model",
    {
        "lcm": "kedge.policies.families.lcm:lcm_policy",
        "diffusion": "kedge.policies.families.diffusion:diffusion_policy",
        "turbo": "kedge.policies.families.turbo:turbo_policy",
        "sana-sprint": "kedge.policies.families.sana_sprint:sana_sprint_policy",
    },
    aliases={"sd-turbo": "turbo", "sdxl-turbo": "turbo", "sdxl-lcm": "lcm"},
)
AUTO = "auto"

# Pipelines that can be loaded, with the kinds that they can be; the classes' names stand in model_index.json.
PIPELINES = {
    "StableDiffusionPipeline": ("lcm", "diffusion", "turbo"),
    "LatentConsistencyModelPipeline": ("lcm", "diffusion", "turbo"),
    "StableDiffusionXLPipeline": ("lcm", "diffusion", "turbo"),
    "SanaSprintPipeline": ("sana-sprint",),
}
SUPPORTED = (
    "Stable Diffusion 1.x and 2.x, SDXL (kinds lcm, diffusion, turbo; model.lcm_lora or model.unet for consistency "
    "models that come as a part) and SANA-Sprint (kind sana-sprint)"
)
# What comes near, for pipelines that are refused.
NEAREST = {
    "SanaPipeline": "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers, its consistency model",
    "StableDiffusion3Pipeline": "SDXL with latent-consistency/lcm-lora-sdxl",
    "FluxPipeline": "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers, which is a transformer as well",
    "PixArtAlphaPipeline": "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers, which is a transformer as well",
    "PixArtSigmaPipeline": "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers, which is a transformer as well",
}


def detect_kind(model: str | Path, parts: ModelParts | None = None) -> str:
    """The kind of a model: by its files where they are on this machine, else by its name. Downloads nothing.

    Raises:
        UnknownNameError: for a model that cannot be found, or that Kedge cannot load.
    """
    parts = parts or ModelParts()
    if parts.lcm_lora or parts.unet:
        return "lcm"
    place = _folder(model)
    if place is None:
        return _by_name(str(model))
    pipeline = str(_read(place / "model_index.json").get("_class_name"))
    check_pipeline(pipeline, None, str(model))
    if pipeline == "SanaSprintPipeline":
        return "sana-sprint"
    scheduler = _read(place / "scheduler" / "scheduler_config.json")
    name = str(scheduler.get("_class_name", ""))
    embedded = _read(place / "unet" / "config.json").get("time_cond_proj_dim")
    if embedded or name == "LCMScheduler" or pipeline == "LatentConsistencyModelPipeline":
        return "lcm"
    few_steps = name.startswith("Euler") and scheduler.get("timestep_spacing") == "trailing"
    return "turbo" if few_steps else "diffusion"


def check_pipeline(pipeline: str, kind: str | None, model: str) -> None:
    """Refuse a pipeline that Kedge does not know, or one that is never of ``kind``.

    Raises:
        UnknownNameError: saying what is supported, and what comes nearest.
    """
    if pipeline not in PIPELINES:
        near = f" What comes nearest: {NEAREST[pipeline]}." if pipeline in NEAREST else ""
        raise UnknownNameError(
            f"{model} is a {pipeline}, which Kedge does not train. Supported: {SUPPORTED}.{near} For a model of your "
            "own, model.kind=module:function (docs/extending.md)"
        )
    kinds = PIPELINES[pipeline]
    if kind is not None and kind not in kinds:
        raise UnknownNameError(f"{model} is a {pipeline}, so model.kind={kinds[0]} (or auto), not {kind}")


def _folder(model: str | Path) -> Path | None:
    """Where the model's files are, if they are here: its folder, or its snapshot in the hub's cache."""
    try:
        place = resolve_model(model)
    except FileNotFoundError:  # a bundled model that is not built yet: its name tells
        return None
    if isinstance(place, Path):
        return place
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(place, "model_index.json")
    return Path(index).parent if isinstance(index, str) else None


def _by_name(name: str) -> str:
    """As well as a hub id tells; when the model is loaded, its files have the last word."""
    name = name.lower()
    for mark, kind in (("sprint", "sana-sprint"), ("turbo", "turbo"), ("lcm", "lcm")):
        if mark in name:
            return kind
    return "diffusion"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found

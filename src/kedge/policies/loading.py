"""From a model's name to a diffusers pipeline: the whole model, a UNet of its own, an LCM-LoRA, another VAE."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.models.modeling_utils import ModelMixin

from kedge.models import ModelParts, resolve_model, resolve_part
from kedge.policies.families.detect import check_pipeline
from kedge.policies.families.spec import Family
from kedge.quiet import quiet_loading

LORA_FILE = "pytorch_lora_weights.safetensors"
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")


@dataclass(frozen=True)
class Place:
    """What to load, and where to.

    Attributes:
        model: as for :func:`kedge.models.resolve_model`.
        parts: what to take from elsewhere.
        device: where every network goes.
        dtype: of the networks.
    """

    model: str | Path
    parts: ModelParts
    device: torch.device
    dtype: torch.dtype


def load_pipeline(place: Place, family: Family) -> DiffusionPipeline:
    """Load a model from a folder or the hub, without its safety checker, as one of ``family``.

    Raises:
        UnknownNameError: for a pipeline that Kedge does not know, or that is of another family.
        ValueError: for parts that do not fit it.
    """
    where, parts = resolve_model(place.model), place.parts
    index = DiffusionPipeline.load_config(where)
    check_pipeline(str(index.get("_class_name")), family, str(place.model))
    components: dict[str, Any] = {name: None for name in UNUSED if name in index}
    if "requires_safety_checker" in index or "safety_checker" in index:
        components["requires_safety_checker"] = False
    with quiet_loading():
        if parts.unet:
            components["unet"] = _part(UNet2DConditionModel, parts.unet, "unet", place.dtype, parts.variant)
        if parts.vae:
            components["vae"] = _part(AutoencoderKL, parts.vae, "vae", place.dtype, None)
        # An LCM-LoRA is added in float32 and rounded once, with the sum.
        dtypes = {"default": place.dtype} | ({"unet": _at_least_float32(place.dtype)} if parts.lcm_lora else {})
        pipeline = DiffusionPipeline.from_pretrained(where, dtype=dtypes, variant=_variant(where, parts), **components)
        if parts.lcm_lora:
            _fuse_lcm_lora(pipeline, parts.lcm_lora, place.dtype)
            take_scheduler(pipeline, family)
    pipeline.set_progress_bar_config(disable=True)
    if pipeline.vae.dtype == torch.float16 and pipeline.vae.config.get("force_upcast"):
        pipeline.vae.to(torch.float32)  # SDXL's own overflows in float16
    return pipeline.to(place.device)


def take_scheduler(pipeline: DiffusionPipeline, family: Family) -> None:
    """Give the pipeline the scheduler that samples ``family``, in place of the one in the model's folder."""
    if family.scheduler is not None:
        cls = getattr(diffusers, family.scheduler)
        scheduler = cls.from_config(pipeline.scheduler.config, **family.scheduler_options)
        pipeline.register_modules(scheduler=scheduler)


def _part(cls: type[ModelMixin], name: str, subfolder: str, dtype: torch.dtype, variant: str | None) -> ModelMixin:
    """A network from its own folder or hub id, or from the folder of a whole model."""
    where = resolve_part(name, f"model.{subfolder}")
    whole = isinstance(where, Path) and (where / "model_index.json").is_file()
    folder = where / subfolder if whole and isinstance(where, Path) else where
    variant = variant or (_only_variant([folder]) if isinstance(folder, Path) else None)
    return cls.from_pretrained(folder, dtype=dtype, variant=variant)


def _fuse_lcm_lora(pipeline: DiffusionPipeline, name: str, dtype: torch.dtype) -> None:
    """Make the UNet W + ΔW: the model that training starts from, and is held to."""
    where = resolve_part(name, "model.lcm_lora")
    folder, file = (where.parent, where.name) if isinstance(where, Path) and where.is_file() else (where, LORA_FILE)
    pipeline.load_lora_weights(folder, weight_name=file)
    pipeline.fuse_lora(components=["unet"])
    pipeline.unload_lora_weights()
    pipeline.unet.to(dtype)


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _variant(where: Path | str, parts: ModelParts) -> str | None:
    """The variant that was asked for, or the only one that a folder has."""
    if parts.variant or isinstance(where, str):
        return parts.variant
    return _only_variant([folder for folder in where.iterdir() if folder.is_dir()])


def _only_variant(folders: list[Path]) -> str | None:
    """``fp16`` if all weights are in ``….fp16.safetensors``; None if there are unmarked ones, or several variants."""
    names = [file.name for folder in folders for file in folder.glob("*.safetensors")]
    marks = {name.split(".")[1] if name.count(".") > 1 else None for name in names}
    return marks.pop() if len(marks) == 1 else None

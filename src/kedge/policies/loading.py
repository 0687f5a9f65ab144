"""From a model's name to a diffusers pipeline: the whole model, another UNet or VAE, a LoRA that is merged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from kedge.models import LORA_KEYS, ModelParts, hub_file, resolve_model, resolve_part
from kedge.policies.families.detect import check_pipeline
from kedge.policies.families.spec import Family
from kedge.policies.hub import check_reachable
from kedge.policies.merged_lora import merge_lora
from kedge.policies.part_files import LORA_FILES, single_file
from kedge.policies.quantized import quantize
from kedge.policies.schedulers import as_scheduler
from kedge.policies.settings import Quantization
from kedge.policies.unet_file import load_unet_file, unet_path
from kedge.policies.weight_files import NOT_DRAWING
from kedge.quiet import quiet_loading
from kedge.vocabulary import check_vocabulary

SHARD = re.compile(r"-\d+-of-\d+(?=\.)")  # ….fp16-00001-of-00002.safetensors


@dataclass(frozen=True)
class Place:
    """What to load, and where to.

    Attributes:
        model: as for :func:`kedge.models.resolve_model`.
        parts: what to take from elsewhere.
        device: where every network goes.
        dtype: of the networks.
        quantize: how the denoising network's blocks are stored; None is in ``dtype``.
        texts_on_host: text encoders stay in the host's memory.
    """

    model: str | Path
    parts: ModelParts
    device: torch.device
    dtype: torch.dtype
    quantize: Quantization | None = None
    texts_on_host: bool = False


def load_pipeline(place: Place, family: Family) -> DiffusionPipeline:
    """Load a model from a folder or the hub, without its safety checker, as one of ``family``.

    Raises:
        UnknownNameError: for a pipeline that Kedge does not know, or that is of another family.
        ValueError: for parts that do not fit it.
    """
    where, parts = resolve_model(place.model), place.parts
    _check_reachable(where, parts)
    with quiet_loading():
        index = DiffusionPipeline.load_config(where)
    check_pipeline(str(index.get("_class_name")), family, str(place.model))
    _check_parts(where, index, family)
    components: dict[str, Any] = {}
    for name in NOT_DRAWING:
        if name in index:
            components[name] = None
    if "requires_safety_checker" in index or "safety_checker" in index:
        components["requires_safety_checker"] = False
    with quiet_loading():
        # A LoRA is added in float32, and the sum is rounded once.
        unet_dtype = _at_least_float32(place.dtype) if parts.merged_lora else place.dtype
        if parts.unet:
            components["unet"] = _unet(parts.unet, where, unet_dtype, parts.variant)
        if parts.vae:
            components["vae"] = _part(AutoencoderKL, parts.vae, subfolder="vae", dtype=place.dtype, variant=None)
        dtypes = {"default": place.dtype} | ({"unet": unet_dtype} if parts.merged_lora else {})
        pipeline = DiffusionPipeline.from_pretrained(where, dtype=dtypes, variant=_variant(where, parts), **components)
        if parts.merged_lora:
            key, source = parts.merged_lora
            merge_lora(pipeline, source, f"model.{key}")
            nn.Module.to(pipeline.unet, place.dtype)  # diffusers' own warns
            take_scheduler(pipeline, family)
    _check_tokenizers(pipeline, place.model)
    pipeline.set_progress_bar_config(disable=True)
    if pipeline.vae.dtype == torch.float16 and pipeline.vae.config.get("force_upcast"):
        pipeline.vae.to(torch.float32)  # SDXL's own overflows in float16
    _move(pipeline, family, place)
    return pipeline


def _check_parts(where: Path | str, index: Mapping[str, Any], family: Family) -> None:
    """See that the index names what every model has, and that a folder has what its index names.

    Raises:
        ValueError: naming the part.
    """
    for part in (family.backbone.network, "vae", "text_encoder", "scheduler"):
        if part not in index:
            raise ValueError(f"{where}/model_index.json does not name a {part}: is it the whole model's?")
    for part, kind in index.items():
        named = isinstance(kind, list) and kind[0] is not None and part not in NOT_DRAWING
        if named and isinstance(where, Path) and not (where / part).is_dir():
            raise ValueError(
                f"{where} has no folder {part}, which its model_index.json names: is the model here whole?"
            )


def _move(pipeline: DiffusionPipeline, family: Family, place: Place) -> None:
    """Every network to where it is used; the denoising one layer by layer, where its layers are quantised."""
    backbone = family.backbone
    if place.quantize:
        quantize(getattr(pipeline, backbone.network), place.quantize, place.device)
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module) and not (place.texts_on_host and name in backbone.text_encoders):
            part.to(place.device)


def _check_reachable(where: Path | str, parts: ModelParts) -> None:
    """See that what is on the hub can be had, before anything large is loaded."""
    check_reachable(where)
    for key, file in (("unet", "config.json"), ("vae", "config.json"), *((key, LORA_FILES[0]) for key in LORA_KEYS)):
        source = getattr(parts, key)
        if not source:
            continue
        place = resolve_part(source, f"model.{key}")
        if single := hub_file(place):
            check_reachable(single.repository, single.path, f"model.{key}")
        elif isinstance(place, str):
            check_reachable(place, file, f"model.{key}")


def _check_tokenizers(pipeline: DiffusionPipeline, model: str | Path) -> None:
    """Refuse a tokenizer of another network than the text encoder beside it."""
    for name, tokenizer in pipeline.components.items():
        encoder = pipeline.components.get(name.replace("tokenizer", "text_encoder"))
        config = getattr(encoder, "config", None)
        rows = getattr(getattr(config, "text_config", config), "vocab_size", None)
        if name.startswith("tokenizer") and rows is not None and tokenizer is not None:
            check_vocabulary(len(tokenizer), rows, f"the text encoder of {model}", name)


def take_scheduler(pipeline: DiffusionPipeline, family: Family) -> None:
    """Give the pipeline the scheduler that samples ``family``, in place of the one in the model's folder."""
    if family.scheduler is not None:
        cls = getattr(diffusers, family.scheduler)
        scheduler = as_scheduler(cls, pipeline.scheduler, **family.scheduler_options)
        pipeline.register_modules(scheduler=scheduler)


def _unet(source: str, base: Path | str, dtype: torch.dtype, variant: str | None) -> ModelMixin:
    """A UNet from a folder, a hub id or a single file."""
    if single_file(source, "model.unet"):
        return load_unet_file(unet_path(source), base, dtype)
    return _part(UNet2DConditionModel, source, subfolder="unet", dtype=dtype, variant=variant)


def _part(cls: type[ModelMixin], name: str, subfolder: str, dtype: torch.dtype, variant: str | None) -> ModelMixin:
    """A network from its own folder or hub id, or from the folder of a whole model."""
    where = resolve_part(name, f"model.{subfolder}")
    whole = isinstance(where, Path) and (where / "model_index.json").is_file()
    folder = where / subfolder if whole and isinstance(where, Path) else where
    variant = variant or (_only_variant([folder]) if isinstance(folder, Path) else None)
    return cls.from_pretrained(folder, dtype=dtype, variant=variant)


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _variant(where: Path | str, parts: ModelParts) -> str | None:
    """The variant that was asked for, or the only one that a folder has."""
    if parts.variant or isinstance(where, str):
        return parts.variant
    return _only_variant([folder for folder in where.iterdir() if folder.is_dir()])


def _only_variant(folders: list[Path]) -> str | None:
    """``fp16`` if all weights are in ``….fp16.safetensors``; None if there are unmarked ones, or several variants."""
    marks: set[str | None] = set()
    for folder in folders:
        for file in folder.glob("*.safetensors"):
            mark = SHARD.sub("", file.name).split(".")[1]
            marks.add(None if mark == "safetensors" else mark)
    return marks.pop() if len(marks) == 1 else None

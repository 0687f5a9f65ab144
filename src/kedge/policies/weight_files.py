"""Which files a model's weights are loaded from, part by part; nothing is loaded or downloaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from kedge.files import read_json
from kedge.models import ModelParts, hub_file, resolve_model, resolve_part
from kedge.policies.part_files import lora_file_here

NOT_DRAWING = ("safety_checker", "feature_extractor", "image_encoder")  # parts of a pipeline that are never loaded
_WEIGHTS = re.compile(r"(?:diffusion_pytorch_model|pytorch_model|model|pytorch_lora_weights)(?P<rest>[.-].*)?\Z")
_SHARD = re.compile(r"-?\d+-of-\d+")


def weight_files(name: str | Path, parts: ModelParts) -> dict[str, list[Path]]:
    """The files that each part of a model is loaded from, by part; empty if they are not on this machine."""
    try:
        folder = _local(resolve_model(name), "model_index.json")
    except (ValueError, FileNotFoundError):
        return {}
    if folder is None:
        return {}
    files = {}
    for part, place in _places(folder, parts).items():
        variant = None if part == "vae" and parts.vae else parts.variant
        files[part] = [place] if place is not None and place.is_file() else _chosen(place, variant)
    if parts.merged_lora:
        key, source = parts.merged_lora
        file = lora_file_here(source, f"model.{key}")
        files[key] = [file] if file else []
    by_part = {}
    for part, chosen in files.items():
        if chosen:
            by_part[part] = chosen
    return by_part


def _places(folder: Path, parts: ModelParts) -> dict[str, Path | None]:
    """Folder or single file of each part; None for one from elsewhere that is not here."""
    places: dict[str, Path | None] = {}
    for part in read_json(folder / "model_index.json"):
        if part not in NOT_DRAWING and (folder / part).is_dir():
            places[part] = folder / part
    for part, source in (("unet", parts.unet), ("vae", parts.vae)):
        if source:
            places[part] = _part_folder(source, part)
    return places


def _local(place: Path | str, file: str) -> Path | None:
    """A folder, or the snapshot of a hub id in the cache, that holds ``file``."""
    if isinstance(place, Path):
        return place
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(place, file)
    return Path(cached).parent if isinstance(cached, str) else None


def _part_folder(source: str, part: str) -> Path | None:
    """Where a network from elsewhere is: its folder, its place in the folder of a whole model, or its single file."""
    named = resolve_part(source, f"model.{part}")
    if file := hub_file(named):
        return file.cached
    place = _local(named, "config.json")
    if place is not None and (place / "model_index.json").is_file():
        return place / part
    return place


def _chosen(folder: Path | None, variant: str | None) -> list[Path]:
    """The weight files that are loaded from a folder: safetensors before pickles, and of one variant."""
    if folder is None:
        return []
    for suffix in (".safetensors", ".bin"):
        marked: dict[str | None, list[Path]] = {}
        for path, mark in _marked(folder, suffix):
            marked.setdefault(mark, []).append(path)
        for mark in (variant, None, *marked):
            if mark in marked:
                return sorted(marked[mark])
    return []


def _marked(folder: Path, suffix: str) -> Iterator[tuple[Path, str | None]]:
    """Every weight file with its variant: ``fp16`` for ``model.fp16-00001-of-00002.safetensors``."""
    for path in sorted(folder.glob(f"*{suffix}")):
        match = _WEIGHTS.match(path.name.removesuffix(suffix))
        if match:
            yield path, _SHARD.sub("", match["rest"] or "").strip(".") or None

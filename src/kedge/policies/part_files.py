"""The file behind a part from elsewhere: a path, a folder's only candidate, or a file or repository on the hub."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kedge.models import WEIGHT_FILES, hub_file, resolve_part
from kedge.registry import listed

LORA_FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")


def lora_file(source: str, key: str) -> Path:
    """The file of a LoRA, downloaded if it is on the hub.

    Args:
        source: a file, a folder with one, a hub id, or a file on the hub.
        key: of the ``model`` block, for messages.

    Raises:
        ValueError: if a folder or repository does not say which of its files it is.
        UnknownNameError: if ``source`` is nothing of this.
    """
    place = resolve_part(source, key)
    if isinstance(place, Path):
        return _in_folder(place, key) if place.is_dir() else place
    if file := hub_file(place):
        return file.fetched()
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(place, LORA_FILES[0]))
    except LocalEntryNotFoundError:  # no network, and not in the cache
        raise
    except EntryNotFoundError as error:
        raise ValueError(
            f"{key}: {place} has no {LORA_FILES[0]}: name the file as well, {place}/FILE.safetensors"
        ) from error


def lora_file_here(source: str, key: str) -> Path | None:
    """As :func:`lora_file`, but nothing is downloaded: None if it is not on this machine."""
    place = resolve_part(source, key)
    if isinstance(place, Path):
        return _in_folder(place, key) if place.is_dir() else place
    if file := hub_file(place):
        return file.cached
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(place, LORA_FILES[0])
    return Path(cached) if isinstance(cached, str) else None


def single_file(source: str, key: str) -> bool:
    """Whether a part is one file of weights, here or on the hub, and no folder in diffusers' format."""
    place = resolve_part(source, key)
    return hub_file(place) is not None if isinstance(place, str) else place.is_file()


def weight_names(path: Path) -> Sequence[str]:
    """The names of the weights in a safetensors file, of which only the head is read; none of another format."""
    if path.suffix != ".safetensors":
        return ()
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = json.loads(file.read(length))
    names = []
    for name in head:
        if name != "__metadata__":
            names.append(name)
    return names


def _in_folder(folder: Path, key: str) -> Path:
    for name in LORA_FILES:
        if (folder / name).is_file():
            return folder / name
    files = []
    for path in sorted(folder.iterdir()):
        if path.suffix in WEIGHT_FILES:
            files.append(path)
    if len(files) != 1:
        names = listed([path.name for path in files]) or "none"
        raise ValueError(f"{key}: {folder} has no {LORA_FILES[0]}: name the file itself. Weights there: {names}")
    return files[0]

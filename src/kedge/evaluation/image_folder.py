"""Folders of images with their prompts: read what others made, write what was drawn.

Prompts are found, in this order, in a list that is given, ``metadata.jsonl`` (``file_name`` and ``text``, as Hugging
Face's ImageFolder has it), ``prompts.txt`` (a line for each image in the order of names), or a ``.txt`` file beside
each image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
METADATA, LIST = "metadata.jsonl", "prompts.txt"


def is_image_folder(path: Path) -> bool:
    """Whether there are images directly inside ``path``."""
    return path.is_dir() and any(child.suffix.lower() in SUFFIXES for child in path.iterdir())


def read_image_folder(folder: Path, prompts: Sequence[str] | None = None) -> tuple[list[Path], list[str]]:
    """The images of a folder and the prompt of each, images in the natural order of their names (2 before 10).

    Args:
        prompts: one for each image in that order; None looks for them in the folder.

    Raises:
        ValueError: no images, or prompts that are missing or do not match; says what to add.
    """
    images = sorted((p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES), key=_natural)
    if not images:
        raise ValueError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
    found = list(prompts) if prompts is not None else _prompts(folder, images)
    if len(found) != len(images):
        raise ValueError(f"{folder} holds {len(images)} images, but there are {len(found)} prompts: give one for each")
    return images, found


def _natural(path: Path) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", path.name.lower()) if part]


def _prompts(folder: Path, images: Sequence[Path]) -> list[str]:
    if (folder / METADATA).exists():
        return _from_metadata(folder / METADATA, images)
    if (folder / LIST).exists():
        return [line.strip() for line in (folder / LIST).read_text(encoding="utf-8").splitlines() if line.strip()]
    beside = [image.with_suffix(".txt") for image in images]
    if all(path.exists() for path in beside):
        return [path.read_text(encoding="utf-8").strip() for path in beside]
    raise ValueError(
        f"{folder} does not say what its images should show: add {LIST} (a line for each image), {METADATA} "
        "(file_name, text) or a .txt file beside each image, or give --prompts"
    )


def _from_metadata(path: Path, images: Sequence[Path]) -> list[str]:
    texts = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            texts[row["file_name"]] = row["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: expected file_name and text as JSON") from error
    missing = [image.name for image in images if image.name not in texts]
    if missing:
        raise ValueError(f"{path} has no prompt for {missing[0]} ({len(missing)} missing)")
    return [texts[image.name] for image in images]


def write_image_folder(folder: Path, images: NDArray[np.uint8], prompts: Sequence[str]) -> Path:
    """Write ``[N, H, W, 3]`` uint8 as PNG with ``metadata.jsonl``; reading it back gives the same."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{i:05d}.png" for i in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / name)
    rows = [{"file_name": name, "text": prompt} for name, prompt in zip(names, prompts, strict=True)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / METADATA).write_text(text, encoding="utf-8")
    return folder

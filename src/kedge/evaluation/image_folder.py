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

from kedge.files import text_lines

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif")
METADATA, LIST = "metadata.jsonl", "prompts.txt"


def is_image_folder(path: Path) -> bool:
    """Whether there are images directly inside ``path``."""
    return path.is_dir() and any(map(_is_image, path.iterdir()))


def read_image_folder(folder: Path, prompts: Sequence[str] | None = None) -> tuple[list[Path], list[str]]:
    """The images of a folder and the prompt of each, images in the natural order of their names (2 before 10).

    Args:
        prompts: one for each image in that order; None looks for them in the folder.

    Raises:
        ValueError: no images, or prompts that are missing or do not match; says what to add.
    """
    images = sorted(filter(_is_image, folder.iterdir()), key=_natural)
    if not images:
        raise ValueError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
    texts = list(prompts) if prompts is not None else _prompts(folder, images)
    if len(texts) != len(images):
        raise ValueError(f"{folder} holds {len(images)} images, but there are {len(texts)} prompts: give one for each")
    return images, texts


def _is_image(path: Path) -> bool:
    """By its ending; hidden files are none, such as the ``._x.png`` that macOS leaves beside ``x.png``."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """A key that sorts numbers in a name by their value, and before letters."""
    key: list[tuple[int, int | str]] = []
    for part in filter(None, re.split(r"(\d+)", path.name.lower())):
        key.append((0, int(part)) if part.isdecimal() else (1, part))
    return key


def _prompts(folder: Path, images: Sequence[Path]) -> list[str]:
    if (folder / METADATA).exists():
        return _from_metadata(folder / METADATA, images)
    if (folder / LIST).exists():
        return list(filter(None, map(str.strip, _lines(folder / LIST))))
    beside = [image.with_suffix(".txt") for image in images]
    if all(map(Path.exists, beside)):
        return ["\n".join(_lines(path)).strip() for path in beside]
    raise ValueError(
        f"{folder} does not say what its images should show: add {LIST} (a line for each image), {METADATA} "
        "(file_name, text) or a .txt file beside each image, or give --prompts"
    )


def _lines(path: Path) -> list[str]:
    try:
        return text_lines(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error


def _from_metadata(path: Path, images: Sequence[Path]) -> list[str]:
    texts = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            texts[row["file_name"]] = row["text"].strip()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}: expected file_name and text as JSON") from error
    missing = []
    for image in images:
        if image.name not in texts:
            missing.append(image.name)
    if missing:
        raise ValueError(f"{path} has no prompt for {missing[0]} ({len(missing)} missing)")
    return [texts[image.name] for image in images]


def write_image_folder(folder: Path, images: NDArray[np.uint8], prompts: Sequence[str]) -> Path:
    """Write ``[N, H, W, 3]`` uint8 as PNG with ``metadata.jsonl``; reading it back gives the same."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i, (image, prompt) in enumerate(zip(images, prompts, strict=True)):
        name = f"{i:05d}.png"
        Image.fromarray(image).save(folder / name)
        lines.append(json.dumps({"file_name": name, "text": prompt}, ensure_ascii=False) + "\n")
    (folder / METADATA).write_text("".join(lines), encoding="utf-8")
    return folder

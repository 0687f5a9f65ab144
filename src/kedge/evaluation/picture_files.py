"""Pictures in files that say in words what they show, for those who do not see them and for whoever finds the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, PngImagePlugin

DESCRIPTION = "Description"  # the PNG standard's keyword


def describe_grid(columns: Sequence[str], rows: Sequence[str]) -> str:
    """``Columns: base, tuned. Rows: 1. a fox at night; 2. …``; empty if neither has names."""
    names = []
    for name in columns:
        if name:
            names.append(name)
    parts = [f"Columns: {', '.join(names)}."] if names else []
    if rows:
        parts.append(f"Rows: {'; '.join(f'{number}. {row}' for number, row in enumerate(rows, 1))}")
    return " ".join(parts)


def save_picture(image: Image.Image, path: Path) -> Path:
    """Write a picture; a PNG also keeps what ``image.info`` has as its description."""
    text = image.info.get(DESCRIPTION)
    if text and path.suffix.lower() == ".png":
        words = PngImagePlugin.PngInfo()
        words.add_itxt(DESCRIPTION, text)
        image.save(path, pnginfo=words)
    else:
        image.save(path)
    return path


def description_of(path: Path) -> str:
    """What a picture's file says that it shows; empty if it says nothing."""
    with Image.open(path) as image:
        text = image.info.get(DESCRIPTION, "")
    return text if isinstance(text, str) else ""

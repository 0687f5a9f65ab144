"""Pictures in files that say in words what they show, for those who do not see them and for whoever finds the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from kedge.files import replacing

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
    """Write a picture, whole or not at all; a PNG also keeps what ``image.info`` has as its description."""
    text, options = image.info.get(DESCRIPTION), dict[str, Any]()
    if text and path.suffix.lower() == ".png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt(DESCRIPTION, text)
    kind = Image.registered_extensions()[path.suffix.lower()]  # a draft's name does not say it
    with replacing(path) as draft:
        image.save(draft, format=kind, **options)
    return path


def description_of(path: Path) -> str:
    """What a picture's file says that it shows; empty if it says nothing, or is no whole picture."""
    try:
        with Image.open(path) as image:
            text = image.info.get(DESCRIPTION, "")
    except (OSError, ValueError):
        return ""
    return text if isinstance(text, str) else ""

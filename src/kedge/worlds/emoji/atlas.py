"""The sprites of the emoji world: 45 animals and a few props, cut from the Noto Color Emoji font once.

The 45 animals are the prompts of DDPO and RLCM, in their order. ``assets/atlas.png`` ships with the package, so users
need no font; :func:`draw_atlas` made it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from torch import Tensor

ASSETS = Path(__file__).parent / "assets"
ATLAS = ASSETS / "atlas.png"
CELL = 64  # pixels of one sprite in the atlas
COLUMNS = 10

# Where the font draws a face and a body, the face: it stays legible at 15 pixels.
ANIMALS: dict[str, str] = {
    "cat": "🐱",
    "dog": "🐶",
    "horse": "🐴",
    "monkey": "🐵",
    "rabbit": "🐰",
    "zebra": "🦓",
    "spider": "🕷",
    "bird": "🐦",
    "sheep": "🐑",
    "deer": "🦌",
    "cow": "🐮",
    "goat": "🐐",
    "lion": "🦁",
    "tiger": "🐯",
    "bear": "🐻",
    "raccoon": "🦝",
    "fox": "🦊",
    "wolf": "🐺",
    "lizard": "🦎",
    "beetle": "🪲",
    "ant": "🐜",
    "butterfly": "🦋",
    "fish": "🐟",
    "shark": "🦈",
    "whale": "🐋",
    "dolphin": "🐬",
    "squirrel": "🐿",
    "mouse": "🐭",
    "rat": "🐀",
    "snake": "🐍",
    "turtle": "🐢",
    "frog": "🐸",
    "chicken": "🐔",
    "duck": "🦆",
    "goose": "🪿",
    "bee": "🐝",
    "pig": "🐷",
    "turkey": "🦃",
    "fly": "🪰",
    "llama": "🦙",
    "camel": "🐪",
    "bat": "🦇",
    "gorilla": "🦍",
    "hedgehog": "🦔",
    "kangaroo": "🦘",
}
PROPS: dict[str, str] = {"bike": "🚲", "pawn": "♟", "plate": "🍽", "bubbles": "🫧", "moon": "🌙"}
SPRITES: tuple[str, ...] = (*ANIMALS, *PROPS)
ANIMAL_NAMES: tuple[str, ...] = tuple(ANIMALS)
SIZES: tuple[int, ...] = (9, 13, 15, 18, 20)  # every size in which a scene may draw a sprite


def draw_atlas(font: str | Path, path: Path = ATLAS) -> None:
    """Render every sprite from the font (Noto Color Emoji, 109-pixel bitmaps) into one RGBA sheet."""
    face = ImageFont.truetype(str(font), 109)
    rows = -(-len(SPRITES) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * CELL, rows * CELL))
    for i, glyph in enumerate({**ANIMALS, **PROPS}.values()):
        tile = Image.new("RGBA", (160, 160))
        ImageDraw.Draw(tile).text((10, 10), glyph, font=face, embedded_color=True)
        tile = tile.crop(tile.getbbox())
        side = max(tile.size)
        square = Image.new("RGBA", (side, side))
        square.paste(tile, ((side - tile.width) // 2, side - tile.height))  # stand on the lower edge
        cell = square.resize((CELL, CELL), Image.Resampling.LANCZOS)
        sheet.paste(cell, ((i % COLUMNS) * CELL, (i // COLUMNS) * CELL))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


@cache
def sprite_bank() -> Tensor:
    """Every sprite in every size: ``[sprites, sizes, 4, 20, 20]`` float32 in [0, 1], RGB premultiplied by alpha.

    A sprite of size s fills the upper left s × s pixels; the rest is transparent.
    """
    import torch  # captions are read, and dry runs made, without it

    sheet = Image.open(ATLAS).convert("RGBA")
    bank = torch.zeros(len(SPRITES), len(SIZES), 4, SIZES[-1], SIZES[-1])
    for i in range(len(SPRITES)):
        x, y = (i % COLUMNS) * CELL, (i // COLUMNS) * CELL
        cell = sheet.crop((x, y, x + CELL, y + CELL)).convert("RGBa")  # premultiplied, so that edges stay clean
        for j, size in enumerate(SIZES):
            pixels = np.asarray(cell.resize((size, size), Image.Resampling.LANCZOS))
            bank[i, j, :, :size, :size] = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)
    bank[:, :, :3] = torch.minimum(bank[:, :, :3], bank[:, :, 3:])
    return bank

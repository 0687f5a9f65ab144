"""What the oracle looks for: every sprite in every size that a scene may give it, prepared for correlation."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from kedge.worlds.emoji.atlas import ANIMAL_NAMES, PROPS, SIZES, SPRITES, sprite_bank
from kedge.worlds.emoji.captions import ACTIVITIES, POSITIONS, Spec
from kedge.worlds.emoji.scenes import SIDE, backgrounds, compose

ANIMALS = len(ANIMAL_NAMES)  # sprites below this index are animals, the others props
SOFTNESS = 0.8  # standard deviation in pixels
BORDER = 2  # pixels by which softening spreads a sprite
MARGIN = 2  # pixels by which a sprite may stick out of the picture


@dataclass(frozen=True)
class Group:
    """The sprites that scenes draw at one size.

    Attributes:
        size: index into ``SIZES``.
        sprites: their indices, consecutive, as a slice.
        small: props, and animals beside others of their size or larger.
        kernel: ``[n, 4, s, s]``, correlates with (residual, residual · background): 2T and −2α.
        energy: ``[backgrounds, n, p, p]`` Σ (softened T − αB)² inside the picture, at every place.
    """

    size: int
    sprites: slice
    small: bool
    kernel: Tensor
    energy: Tensor

    @property
    def places(self) -> slice:
        """The centres (row or column) at which the sprite lies inside the picture, but for ``MARGIN`` pixels."""
        first = SIZES[self.size] // 2 - MARGIN
        return slice(first, first + SIDE + 2 * MARGIN - SIZES[self.size] + 1)


def sizes_in_use() -> list[tuple[int, slice, bool]]:
    """Which sprites occur at which size, and whether they are small: found by composing many scenes."""
    animal = ANIMAL_NAMES[0]
    specs = [Spec((animal,)), Spec((animal,) * 2)]
    specs += [Spec((animal,), position=position) for position in POSITIONS]
    specs += [Spec((animal,), activity=activity) for activity in ACTIVITIES]
    small: dict[tuple[int, int], bool] = {}
    for scene in (compose(spec, random.Random(seed)) for seed in range(40) for spec in specs):
        sizes = sorted(layer.size for layer in scene.layers)
        for layer in scene.layers:
            key = (SPRITES.index(layer.sprite), SIZES.index(layer.size))
            beside = layer.sprite in PROPS or sizes.index(layer.size) < len(sizes) - 1
            small[key] = small.get(key, False) or beside
    return [
        (size, slice(sprite, sprite + 1) if sprite >= ANIMALS else slice(0, ANIMALS), beside)
        for (sprite, size), beside in sorted(small.items())
    ]


@cache
def groups(device: torch.device) -> list[Group]:
    """Every group, on ``device``."""
    grounds = backgrounds().to(device)
    smooth, inside = soften(grounds), torch.ones_like(grounds[:, :1])
    features = pad(torch.cat([smooth, smooth.square().sum(1, keepdim=True), inside], 1), (MARGIN + BORDER,) * 4)
    bank = sprite_bank().to(device)
    found = []
    for size, sprites, small in sizes_in_use():
        tiles = bank[sprites, size, :, : SIZES[size], : SIZES[size]]
        soft = soften(pad(tiles, (BORDER,) * 4))
        colour, alpha = soft[:, :3], soft[:, 3:]
        square = colour.square().sum(1, keepdim=True)
        energy = conv2d(features, torch.cat([-2 * alpha * colour, alpha.square(), square], 1))
        found.append(Group(size, sprites, small, torch.cat([2 * tiles[:, :3], -2 * tiles[:, 3:]], 1), energy))
    return found


@cache
def _softener(side: int, device: torch.device) -> Tensor:
    steps = torch.arange(side, dtype=torch.float32)
    weights = torch.exp(-(steps[:, None] - steps).square() / (2 * SOFTNESS**2))
    return (weights / torch.exp(-torch.arange(-9.0, 10.0).square() / (2 * SOFTNESS**2)).sum()).to(device)


def soften(maps: Tensor) -> Tensor:
    """``[..., s, s]`` under a Gaussian of ``SOFTNESS`` pixels, zero outside: a picture without its finest detail."""
    blur = _softener(maps.shape[-1], maps.device)
    return blur @ maps @ blur


@cache
def _tiles(device: torch.device) -> Tensor:
    """``[sprites · sizes, s, s, 4]`` with a transparent border on the lower and right side."""
    bank = pad(sprite_bank(), (0, 1, 0, 1)).permute(0, 1, 3, 4, 2)
    return bank.flatten(0, 1).contiguous().to(device)


def paste(sprite: Tensor, size: Tensor, left: Tensor, top: Tensor) -> Tensor:
    """Sprites alone on transparent canvases.

    Args:
        sprite, size, left, top: integers of one shape ``[...]``; ``size`` indexes ``SIZES``, ``left`` and ``top`` are
            the pixel of the sprite's upper left corner.

    Returns:
        ``[..., 4, SIDE, SIDE]``: colour premultiplied by alpha, alpha.
    """
    tiles = _tiles(sprite.device)
    edge = tiles.shape[1] - 1  # the transparent border: whatever lies outside the tile reads from it
    grid = torch.arange(SIDE, device=sprite.device)
    columns, lines = grid - left[..., None], grid - top[..., None]
    columns = torch.where((columns < 0) | (columns > edge), edge, columns)
    lines = torch.where((lines < 0) | (lines > edge), edge, lines)
    row = sprite * len(SIZES) + size
    flat = (row[..., None, None] * (edge + 1) + lines[..., :, None]) * (edge + 1) + columns[..., None, :]
    return tiles.flatten(0, 2)[flat].movedim(-1, -3)

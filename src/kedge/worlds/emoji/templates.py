"""What the oracle looks for: every sprite in every size that a scene may give it, prepared for correlation."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from kedge.worlds.emoji.atlas import ANIMAL_NAMES, SIZES, SPRITES, sprite_bank
from kedge.worlds.emoji.captions import ACTIVITIES, POSITIONS, Spec
from kedge.worlds.emoji.scenes import SIDE, backgrounds, compose

ANIMALS = len(ANIMAL_NAMES)  # sprites below this index are animals, the others props
MARGIN = 2  # pixels by which a sprite may stick out of the picture


@dataclass(frozen=True)
class Group:
    """The sprites that scenes draw at one size.

    Attributes:
        size: index into ``SIZES``.
        sprites: their indices, consecutive, as a slice.
        crowded: scenes draw them at this size beside other sprites.
        kernel: ``[n, 4, s, s]``, correlates with (residual, residual · background): 2T and −2α.
        energy: ``[backgrounds, n, p, p]`` Σ (T − αB)² inside the picture, at every place.
    """

    size: int
    sprites: slice
    crowded: bool
    kernel: Tensor
    energy: Tensor

    @property
    def places(self) -> slice:
        """The centres (row or column) at which the sprite lies inside the picture, but for ``MARGIN`` pixels."""
        first = SIZES[self.size] // 2 - MARGIN
        return slice(first, first + SIDE + 2 * MARGIN - SIZES[self.size] + 1)


def sizes_in_use() -> list[tuple[int, slice, bool]]:
    """Which sprites occur at which size, and whether beside others: found by composing many scenes."""
    animal = ANIMAL_NAMES[0]
    specs = [Spec((animal,)), Spec((animal,) * 2)]
    specs += [Spec((animal,), position=position) for position in POSITIONS]
    specs += [Spec((animal,), activity=activity) for activity in ACTIVITIES]
    crowded: dict[tuple[int, int], bool] = {}
    for scene in (compose(spec, random.Random(seed)) for seed in range(40) for spec in specs):
        for layer in scene.layers:
            key = (SPRITES.index(layer.sprite), SIZES.index(layer.size))
            crowded[key] = crowded.get(key, False) or len(scene.layers) > 1
    return [
        (size, slice(sprite, sprite + 1) if sprite >= ANIMALS else slice(0, ANIMALS), crowds)
        for (sprite, size), crowds in sorted(crowded.items())
    ]


@cache
def groups(device: torch.device) -> list[Group]:
    """Every group, on ``device``."""
    grounds = backgrounds().to(device)
    squares, inside = grounds.square().sum(1, keepdim=True), torch.ones_like(grounds[:, :1])
    features = pad(torch.cat([grounds, squares, inside], 1), (MARGIN,) * 4)
    bank = sprite_bank().to(device)
    found = []
    for size, sprites, crowded in sizes_in_use():
        tiles = bank[sprites, size, :, : SIZES[size], : SIZES[size]]
        colour, alpha = tiles[:, :3], tiles[:, 3:]
        square = colour.square().sum(1, keepdim=True)
        energy = conv2d(features, torch.cat([-2 * alpha * colour, alpha.square(), square], 1))
        found.append(Group(size, sprites, crowded, torch.cat([2 * colour, -2 * alpha], 1), energy))
    return found


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

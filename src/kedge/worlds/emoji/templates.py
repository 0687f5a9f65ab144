"""What the oracle looks for: every sprite in every size that a scene may give it, prepared for correlation."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from enum import Enum
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from kedge.worlds.emoji.atlas import ANIMAL_NAMES, PROPS, SIZES, SPRITES, sprite_bank
from kedge.worlds.emoji.captions import ACTIVITIES, POSITIONS, Spec
from kedge.worlds.emoji.scenes import SIDE, Layer, backgrounds, compose

ANIMALS = len(ANIMAL_NAMES)  # sprites below this index are animals, the others props
SOFTNESS = 0.8  # standard deviation in pixels
NEGLIGIBLE = 5  # pixels beyond which softening spreads nothing
BORDER = 2  # pixels by which softening spreads a sprite
IMPOSSIBLE = 1e4  # the energy where a sprite cannot be
MARGIN = 2  # pixels by which a sprite may stick out of the picture


class Role(Enum):
    """What part a sprite of some size plays in scenes, and so when it is sought."""

    ALONE = "an animal with nothing beside it"
    LARGE = "an animal with smaller things beside it"
    SMALL = "a prop, or an animal beside its like or beside something larger"


SOUGHT = (Role.SMALL, Role.LARGE, Role.ALONE)  # of several roles that a sprite plays, the first counts


@dataclass(frozen=True)
class Group:
    """Sprites that are sought together, each at one size.

    Attributes:
        role: when they are sought.
        sprites: their indices, consecutive, as a slice.
        sizes: ``[n, 1, 1]`` uint8, index into ``SIZES``.
        kernel: ``[n, 4, s, s]``, correlates with (residual, residual · background): 2T and −2α, centred.
        energy: ``[backgrounds, n, p, p]`` Σ (softened T − αB)² inside the picture at every place.
        border: pixels to add around the picture before correlating.
    """

    role: Role
    sprites: slice
    sizes: Tensor
    kernel: Tensor
    energy: Tensor
    border: int

    @property
    def places(self) -> slice:
        """The centres (rows or columns) that the correlation yields."""
        first = self.kernel.shape[-1] // 2 - self.border
        return slice(first, first + self.energy.shape[-1])


def sizes_in_use() -> dict[tuple[int, int], Role]:
    """(size, sprite) → role, of all props and of one animal for all: found by composing many scenes."""
    animal = ANIMAL_NAMES[0]
    specs = [Spec((animal,)), Spec((animal,) * 2)]
    specs += [Spec((animal,), position=position) for position in POSITIONS]
    specs += [Spec((animal,), activity=activity) for activity in ACTIVITIES]
    roles: dict[tuple[int, int], set[Role]] = {}
    for seed, spec in itertools.product(range(40), specs):
        layers = compose(spec, random.Random(seed)).layers
        sizes = [layer.size for layer in layers]
        for layer in layers:
            key = (SIZES.index(layer.size), SPRITES.index(layer.sprite))
            roles.setdefault(key, set()).add(_role(layer, sizes))
    return {key: min(roles[key], key=SOUGHT.index) for key in sorted(roles)}


def _role(layer: Layer, sizes: list[int]) -> Role:
    """Of one of a scene's sprites, given the sizes of all of them."""
    if len(sizes) == 1:
        return Role.ALONE
    alike = sizes.count(layer.size) > 1
    return Role.SMALL if layer.sprite in PROPS or alike or layer.size < max(sizes) else Role.LARGE


@cache
def groups(device: torch.device) -> list[Group]:
    """Every group, on ``device``: all animals at each of their sizes, and the props."""
    roles = sizes_in_use()
    animals, props = [], []
    for (size, sprite), role in roles.items():
        if sprite < ANIMALS:
            animals.append(_group(role, 0, [size] * ANIMALS, device))
        else:
            props.append((sprite, size))
    props.sort()
    return [*animals, _group(Role.SMALL, props[0][0], [size for _, size in props], device)]


def _group(role: Role, first: int, sizes: list[int], device: torch.device) -> Group:
    sprites = slice(first, first + len(sizes))
    sides = [SIZES[size] for size in sizes]
    side = max(sides)
    tiles = torch.zeros(len(sizes), 4, side, side)
    for i, size in enumerate(sizes):
        middle = slice(side // 2 - sides[i] // 2, side // 2 - sides[i] // 2 + sides[i])
        tiles[i, :, middle, middle] = sprite_bank()[first + i, size, :, : sides[i], : sides[i]]
    tiles = tiles.to(device)
    border = side // 2 - min(sides) // 2 + MARGIN
    energy = _energy(tiles, border)
    centres = torch.arange(energy.shape[-1]) + side // 2 - border
    for i, s in enumerate(sides):  # no sprite sticks out by more than MARGIN
        out = (centres - s // 2 < -MARGIN) | (centres - s // 2 + s > SIDE + MARGIN)
        energy[:, i, out] = energy[:, i, :, out] = IMPOSSIBLE
    kernel = torch.cat([2 * tiles[:, :3], -2 * tiles[:, 3:]], 1)
    return Group(
        role, sprites, torch.tensor(sizes, dtype=torch.uint8, device=device)[:, None, None], kernel, energy, border
    )


def _energy(tiles: Tensor, border: int) -> Tensor:
    grounds = backgrounds().to(tiles.device)
    smooth, inside = soften(grounds), torch.ones_like(grounds[:, :1])
    features = pad(torch.cat([smooth, smooth.square().sum(1, keepdim=True), inside], 1), (border + BORDER,) * 4)
    soft = soften(pad(tiles, (BORDER,) * 4))
    colour, alpha = soft[:, :3], soft[:, 3:]
    return conv2d(features, torch.cat([-2 * alpha * colour, alpha.square(), colour.square().sum(1, keepdim=True)], 1))


@cache
def _softener(side: int, device: torch.device) -> Tensor:
    steps = torch.arange(side, dtype=torch.float32)
    apart = (steps[:, None] - steps).abs()
    # Beyond are weights below 1e-12. Rounding hides them, but their products are denormal numbers, which take a
    # processor a hundred times as long.
    weights = torch.exp(-apart.square() / (2 * SOFTNESS**2)).masked_fill(apart > NEGLIGIBLE, 0)
    reach = torch.arange(-NEGLIGIBLE, NEGLIGIBLE + 1)
    return (weights / torch.exp(-reach.square() / (2 * SOFTNESS**2)).sum()).to(device)


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

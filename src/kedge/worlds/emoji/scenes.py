"""What the emoji world looks like: from a spec to a scene, from scenes to pixels.

A scene is a background and a few sprites at whole pixels in known sizes, so the oracle can find them again exactly.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from kedge.worlds.emoji.atlas import PROPS, SIZES, SPRITES, sprite_bank
from kedge.worlds.emoji.captions import BACKGROUNDS, Spec, parse

SIDE = 32  # pixels of a scene
VARIANTS = 1  # of each background: flakes, stars and bubbles differ
MAX_LAYERS = 3
NO_LAYER = [-1, 0, 0, 0, 0]  # in a packed scene


@dataclass(frozen=True)
class Layer:
    """One sprite: its name, its size in pixels, the pixel of its centre, and how opaque it is, in percent."""

    sprite: str
    size: int
    x: int
    y: int
    opacity: int = 100


@dataclass(frozen=True)
class Scene:
    """A background (with its variant) and sprites, drawn in order."""

    background: str
    variant: int
    layers: tuple[Layer, ...]


def compose(spec: Spec, rng: random.Random) -> Scene:
    """Choose whatever ``spec`` leaves free: background, variant, sizes and moderate offsets."""
    background = spec.background or rng.choice(BACKGROUNDS)
    return Scene(background, rng.randrange(VARIANTS), _layers(spec, rng))


def faded(scene: Scene, opacity: int) -> Scene:
    """The scene with the props of its activity so opaque, in percent."""
    layers = []
    for layer in scene.layers:
        layers.append(replace(layer, opacity=opacity) if layer.sprite in PROPS else layer)
    return replace(scene, layers=tuple(layers))


def compose_all(specs: Iterable[Spec], rng: random.Random) -> list[Scene]:
    """:func:`compose` for each in turn."""
    return [compose(spec, rng) for spec in specs]


def _jitter(rng: random.Random, sprite: str, size: int, x: int, y: int, by: int) -> Layer:
    return Layer(sprite, size, x + rng.randint(-by, by), y + rng.randint(-by, by))


# Where each activity puts the animal and its props: (sprite, size, x, y); None is the animal.
STAGING: dict[str, tuple[tuple[str | None, int, int, int], ...]] = {
    "riding a bike": (("bike", 18, 16, 22), (None, 15, 16, 9)),
    "playing chess": ((None, 18, 10, 17), ("pawn", 13, 25, 23)),
    "washing the dishes": ((None, 18, 10, 17), ("plate", 13, 25, 24), ("bubbles", 9, 25, 9)),
}
CENTRES = {None: 16, "on the left": 10, "on the right": 22}


def _layers(spec: Spec, rng: random.Random) -> tuple[Layer, ...]:
    if spec.activity:
        layers = []
        for sprite, size, x, y in STAGING[spec.activity]:
            layers.append(_jitter(rng, sprite or spec.animals[0], size, x, y, by=1))
        return tuple(layers)
    if len(spec.animals) == 2:
        left, right = spec.animals
        return (_jitter(rng, left, 15, 8, 18, by=1), _jitter(rng, right, 15, 24, 18, by=1))
    return (_jitter(rng, spec.animals[0], 20, CENTRES[spec.position], 18, by=1),)


def render_prompt(prompt: str, seed: int = 0) -> Tensor:
    """The truth of a prompt: ``[3, 32, 32]`` in [0, 1]."""
    return render([compose(parse(prompt), random.Random(seed))])[0]


def pack(scenes: Sequence[Scene]) -> Tensor:
    """Scenes as int16 ``[B, 1 + 5 · MAX_LAYERS]``: background and variant; sprite, size, left, top and opacity."""
    rows = []
    for scene in scenes:
        row = [BACKGROUNDS.index(scene.background) * VARIANTS + scene.variant]
        for layer in scene.layers:
            half = layer.size // 2
            row += [SPRITES.index(layer.sprite), SIZES.index(layer.size)]
            row += [layer.x - half, layer.y - half, layer.opacity]
        row += NO_LAYER * (MAX_LAYERS - len(scene.layers))
        rows.append(row)
    return torch.tensor(rows, dtype=torch.int16)


def render(scenes: Sequence[Scene]) -> Tensor:
    """Draw scenes: ``[B, 3, 32, 32]`` float32 in [0, 1]."""
    return render_packed(pack(scenes))


def render_packed(rows: Tensor) -> Tensor:
    """Draw packed scenes on their own device (see :func:`pack`)."""
    rows = rows.long()
    bank, grounds = _on(rows.device)
    canvas = grounds[rows[:, 0]]
    grid = torch.arange(SIDE, device=rows.device)
    limit = SIZES[-1]
    for layer in rows[:, 1:].reshape(len(rows), MAX_LAYERS, len(NO_LAYER)).unbind(1):
        sprite, size, left, top, opacity = layer.unbind(1)
        columns, lines = grid[None] - left[:, None], grid[None] - top[:, None]
        inside = ((columns >= 0) & (columns < limit))[:, None, :] & ((lines >= 0) & (lines < limit))[:, :, None]
        inside &= (sprite >= 0)[:, None, None]
        flat = lines.clamp(0, limit - 1)[:, :, None] * limit + columns.clamp(0, limit - 1)[:, None, :]
        tiles = bank[sprite.clamp(min=0), size].flatten(2)  # [B, 4, limit²]
        drawn = tiles.gather(2, flat.flatten(1)[:, None].expand(-1, 4, -1)).unflatten(2, (SIDE, SIDE))
        drawn = drawn * inside[:, None] * (opacity / 100)[:, None, None, None]
        canvas = drawn[:, :3] + canvas * (1 - drawn[:, 3:])
    return canvas


@cache
def _on(device: torch.device) -> tuple[Tensor, Tensor]:
    return sprite_bank().to(device), backgrounds().to(device)


PLAIN = {"pink": "#f7a8c4", "yellow": "#f9e27d", "blue": "#8ec5f0", "green": "#9fd8a0", "purple": "#b9a3e3"}


def _colour(code: str) -> Tensor:
    return torch.tensor([int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def _gradient(*stops: tuple[float, str]) -> Tensor:
    """A vertical gradient through (height in [0, 1], colour) stops, ``[3, 32, 32]``."""
    y = torch.linspace(0, 1, SIDE)
    picture = torch.empty(3, SIDE)
    picture[:] = _colour(stops[0][1])[:, None]
    for (y0, c0), (y1, c1) in itertools.pairwise(stops):
        w = ((y - y0) / max(y1 - y0, 1e-6)).clamp(0, 1)
        mix = _colour(c0)[:, None] * (1 - w) + _colour(c1)[:, None] * w
        picture = torch.where(y >= y0, mix, picture)
    return picture[:, :, None].expand(3, SIDE, SIDE).clone()


def _dots(picture: Tensor, colour: str, seed: int, count: int, radius: float, lowest: int = SIDE) -> Tensor:
    rng = random.Random(seed)
    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    for _ in range(count):
        cx, cy = rng.uniform(1, SIDE - 1), rng.uniform(1, lowest - 1)
        cover = (radius + 0.5 - ((x - cx) ** 2 + (y - cy) ** 2).sqrt()).clamp(0, 1)
        picture = picture * (1 - cover) + _colour(colour)[:, None, None] * cover
    return picture


def _disc(picture: Tensor, colour: str, cx: float, cy: float, radius: float) -> Tensor:
    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    cover = (radius + 0.5 - ((x - cx) ** 2 + (y - cy) ** 2).sqrt()).clamp(0, 1)
    return picture * (1 - cover) + _colour(colour)[:, None, None] * cover


def _scenery(name: str, seed: int) -> Tensor:
    if name == "in the snow":
        sky = _gradient((0, "#b9cfe0"), (0.66, "#dfeaf2"), (0.661, "#f4f8fb"), (1, "#ffffff"))
        return _dots(sky, "#ffffff", seed, 12, 0.4, lowest=20)
    if name == "at sunset":
        sky = _gradient((0, "#5b3f8c"), (0.35, "#d9567a"), (0.68, "#fbb040"), (0.681, "#6b3a4a"), (1, "#4a2738"))
        sun = _disc(sky, "#fff1b0", (8, 25)[seed], 21, 5)
        sun[:, 22:] = sky[:, 22:]
        return sun
    if name == "under water":
        return _dots(_gradient((0, "#4cc3d9"), (1, "#0b4a86")), "#c8f0f7", seed, 7, 0.7)
    if name == "at night":
        return _dots(
            _gradient((0, "#0d1233"), (0.75, "#262c66"), (0.751, "#12241d"), (1, "#0c1a14")),
            "#fff6c8",
            seed,
            11,
            0.3,
            22,
        )
    if name == "in a meadow":
        meadow = _gradient((0, "#7fc8f5"), (0.6, "#d3effc"), (0.601, "#6cbf4b"), (1, "#3f8f35"))
        flowers = _dots(meadow, "#fff27a", seed, 16, 0.4)
        flowers[:, :20] = meadow[:, :20]
        return flowers
    if name == "in the desert":
        sky = _gradient((0, "#f3b25e"), (0.58, "#fbe3b0"), (0.581, "#e0b063"), (1, "#c48a3d"))
        return _disc(sky, "#fffbe6", (6, 26)[seed], 6, 3)
    raise AssertionError(name)


@cache
def backgrounds() -> Tensor:
    """Every variant of every background: ``[backgrounds · VARIANTS, 3, 32, 32]``; plain colours have equal variants."""
    pictures = []
    for name in BACKGROUNDS:
        colour = name.removeprefix("on a ").removesuffix(" background")
        for variant in range(VARIANTS):
            plain = PLAIN.get(colour)
            pictures.append(_gradient((0, plain), (1, plain)) if plain else _scenery(name, variant))
    return torch.stack(pictures)

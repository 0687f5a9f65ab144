"""How well what was found in a picture agrees with what a prompt asks: the parts of the oracle's score."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from kedge.worlds.emoji.atlas import ANIMAL_NAMES, SPRITES
from kedge.worlds.emoji.captions import BACKGROUNDS, parse
from kedge.worlds.emoji.fit import CERTAINTY, Fit
from kedge.worlds.emoji.scenes import CENTRES, SIDE, STAGING, VARIANTS, backgrounds

GROUND_TOLERANCE = 0.2
CLEAN_TOLERANCE = 0.2
SLACK = SIDE / 12  # pixels off its place that cost a factor of e
JITTER = SIDE / 32  # pixels within which a place is right
SHARED = 0.05  # matches this close share the say about places
DRAWN = 0.25  # what a wrong animal's place counts beside the match of the right one
MAX_PROPS = 2


@dataclass(frozen=True)
class PromptTensors:
    """Prompts as tensors, one row each.

    Attributes:
        animals: ``[B, 2]``, the same twice for one animal and for two alike.
        number: ``[B]``, 1 or 2.
        ground: ``[B]`` index into ``BACKGROUNDS``, −1 if free.
        x, y: ``[B]`` pixel where the one animal belongs, −1 if free.
        props: ``[B, 2]`` sprites, −1 if there is none; prop_x, prop_y: where.
    """

    animals: Tensor
    number: Tensor
    ground: Tensor
    x: Tensor
    y: Tensor
    props: Tensor
    prop_x: Tensor
    prop_y: Tensor

    @property
    def sprites(self) -> Tensor:
        """``[B, 2]`` animals or, if any prompt wants props, ``[B, 4]``: the first animal again where one is missing."""
        if (self.props < 0).all():
            return self.animals
        return torch.cat([self.animals, torch.where(self.props < 0, self.animals[:, :1], self.props)], 1)


def read(prompts: Sequence[str], device: torch.device) -> PromptTensors:
    """Understand the prompts.

    Raises:
        CaptionError: a prompt is not of the emoji world.
    """
    rows = torch.tensor(list(map(_row, prompts)), device=device)
    number, ground, x, y = rows[:, 2:6].unbind(1)
    return PromptTensors(rows[:, :2], number, ground, x, y, rows[:, 6:8], rows[:, 8:10], rows[:, 10:12])


@lru_cache(maxsize=1 << 16)
def _row(prompt: str) -> tuple[int, ...]:
    spec = parse(prompt)
    animals = list(map(ANIMAL_NAMES.index, spec.animals))
    ground = BACKGROUNDS.index(spec.background) if spec.background else -1
    x, y, props = -1, -1, []
    if spec.position:
        x = CENTRES[spec.position]
    for sprite, _, left, top in STAGING.get(spec.activity or "", ()):
        if sprite is None:
            x, y = left, top
        else:
            props.append((SPRITES.index(sprite), left, top))
    props += [(-1, 0, 0)] * (MAX_PROPS - len(props))
    sprites, lefts, tops = zip(*props, strict=True)
    return (animals[0], animals[-1], len(animals), ground, x, y, *sprites, *lefts, *tops)


def animal_and_place(fitted: Fit, prompted: PromptTensors) -> tuple[Tensor, Tensor]:
    """The parts ``animal`` and ``place``: the asked animals in the best way of assigning slots to them."""
    first, second = fitted.match[:, :, 0], fitted.match[:, :, 1]
    drawn = DRAWN * fitted.present * fitted.animal  # where no animal matches, speak about the place of what is there
    one = first.amax(1)
    one_place = ((first + drawn) / SHARED).softmax(1).mul(_at(fitted, prompted)).sum(1)

    i, j = torch.tensor(list(itertools.permutations(range(first.shape[1]), 2)), device=first.device).T
    both = (first[:, i] * second[:, j]).sqrt()
    order = _left_of(fitted.x[:, i], fitted.x[:, j])
    alike = prompted.animals[:, :1] == prompted.animals[:, 1:]
    order = torch.where(alike, 1.0, order)
    there = drawn[:, i] + drawn[:, j]
    two_place = ((both + there + SHARED * order) / SHARED).softmax(1).mul(order).sum(1)
    single = prompted.number == 1
    return torch.where(single, one, both.amax(1)), torch.where(single, one_place, two_place)


def _at(fitted: Fit, prompted: PromptTensors) -> Tensor:
    """How well what is in each slot stands where the one animal should, ``[B, slots]``."""
    dx = torch.where(prompted.x[:, None] < 0, 0, fitted.x - prompted.x[:, None])
    dy = torch.where(prompted.y[:, None] < 0, 0, fitted.y - prompted.y[:, None])
    return _near(dx, dy)


def _near(dx: Tensor, dy: Tensor) -> Tensor:
    off = ((dx.abs() - JITTER).clamp(min=0).square() + (dy.abs() - JITTER).clamp(min=0).square()).sqrt()
    return (-off / SLACK).exp()


def _left_of(x: Tensor, other: Tensor) -> Tensor:
    return torch.sigmoid((other - x) / (SIDE / 32))


def number(fitted: Fit, prompted: PromptTensors) -> Tensor:
    """The part ``number``: as many animals, of whatever kind, as the prompt says."""
    drawn = (fitted.present * fitted.animal).sort(1, descending=True).values
    one = drawn[:, 0] * (1 - drawn[:, 1])
    two = drawn[:, 0] * drawn[:, 1] * (1 - drawn[:, 2])
    return torch.where(prompted.number == 1, one, two)


def activity(fitted: Fit, prompted: PromptTensors) -> Tensor:
    """The part ``activity``: the props where they belong; without an activity in the prompt, no props."""
    stray = (fitted.present * ~fitted.animal).amax(1)
    if fitted.match.shape[2] == 2:
        return 1 - stray
    wanted = prompted.props >= 0
    near = _near(fitted.x[:, :, None] - prompted.prop_x[:, None], fitted.y[:, :, None] - prompted.prop_y[:, None])
    drawn = (fitted.match[:, :, 2:] * near).amax(1)
    count = wanted.sum(1)
    done = torch.where(wanted, drawn, 1.0).prod(1) ** (1 / count.clamp(min=1))
    return torch.where(count == 0, 1 - stray, done)


def background_and_clean(images: Tensor, fitted: Fit, prompted: PromptTensors) -> tuple[Tensor, Tensor]:
    """The parts ``background`` (outside the sprites) and ``clean`` (all that the best scene leaves unexplained)."""
    shown = fitted.present > 0.5
    tiles = fitted.tile * shown[:, :, None, None, None]
    error, pixels, apart = _ground_errors(images, tiles)
    names = torch.arange(len(BACKGROUNDS), device=images.device).repeat_interleave(VARIANTS)
    fits = (prompted.ground[:, None] < 0) | (prompted.ground[:, None] == names)
    smallest, ground = error.masked_fill(~fits, torch.inf).min(1)
    ratio = (error - smallest[:, None]) / (apart(ground) + 1e-3)
    lead = ratio.masked_fill(fits, 1.0).amin(1).clamp(-1, 1)
    quality = (-(smallest / (3 * pixels + 1e-6)).sqrt() / GROUND_TOLERANCE).exp()
    background = quality * torch.where(prompted.ground < 0, 1.0, torch.sigmoid(CERTAINTY * lead))

    scene = _draw(error.argmin(1), tiles, fitted)
    off = (images - scene).square().mean((1, 2, 3)).sqrt()
    return background, (-off / CLEAN_TOLERANCE).exp()


def _ground_errors(images: Tensor, tiles: Tensor) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """Squared error of every background variant behind ``tiles``, where it shows.

    Returns:
        ``[B, G]`` errors; ``[B]`` pixels that show; a variant's squared distance to all of them, ``[B] → [B, G]``.
    """
    flat = backgrounds().to(images.device).flatten(1)
    colour, free = tiles[:, 0, :3], 1 - tiles[:, 0, 3:]
    for tile in tiles[:, 1:].unbind(1):  # sprites hardly overlap, so their order does not matter here
        colour, free = tile[:, :3] + colour * (1 - tile[:, 3:]), free * (1 - tile[:, 3:])
    behind, weights = (images - colour).flatten(1), free.expand_as(images).flatten(1)
    own = weights.pow(4) @ flat.square().T
    error = (weights * behind).square().sum(1, keepdim=True) - 2 * (weights.pow(3) * behind) @ flat.T + own

    def apart(ground: Tensor) -> Tensor:
        return own.gather(1, ground[:, None]) + own - 2 * (weights.pow(4) * flat[ground]) @ flat.T

    return error.clamp(min=0), free.square().sum((1, 2, 3)), apart


def _draw(ground: Tensor, tiles: Tensor, fitted: Fit) -> Tensor:
    """The scene of what was found: props first, then animals from left to right, as scenes are drawn."""
    order = (fitted.animal * 2 * SIDE + fitted.x).argsort(1)
    canvas = backgrounds().to(tiles.device)[ground]
    for i in order.unbind(1):
        tile = tiles[torch.arange(len(tiles), device=tiles.device), i]
        canvas = tile[:, :3] + canvas * (1 - tile[:, 3:])
    return canvas

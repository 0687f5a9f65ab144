"""Find the sprites in a picture: analysis by synthesis over everything that a scene may hold.

For a background B, a sprite with premultiplied colour T and opacity α at some place explains the picture I better than
B alone by

    gain = Σ (I − B)² − Σ (I − T − (1 − α) B)² = 2 Σ R·(T − αB) − Σ (T − αB)²,   R = I − B,

one correlation per sprite and size; the second sum is known beforehand. The largest gains are the sprites: white
sheep in the snow count only by what sets them apart from snow.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from kedge.worlds.emoji.atlas import SIZES, SPRITES
from kedge.worlds.emoji.scenes import SIDE, backgrounds
from kedge.worlds.emoji.templates import ANIMALS, MARGIN, groups, paste, soften

RIVALS = 3  # the best sprites of each slot, judged beside those that the prompt names
APART = SIDE / 5  # pixels between the centres of two sprites, at least
REACH = SIDE // 16  # pixels: all rivals of a slot have their centres this close to its centre
NOWHERE = -1e4  # the gain of a place where a sprite cannot be
TINT = 0.15  # difference of colour that is forgiven when sprites are sought
OUTLIER = 0.3  # error of a pixel that says no more about the background


@dataclass(frozen=True)
class Candidates:
    """What each slot may hold: ``[B, slots, K]``, rivals and then the asked; the first is the slot's best.

    Attributes:
        sprite, size: indices into ``SPRITES`` and ``SIZES``.
        x, y: the pixel of the centre.
        gain: ``[B, slots]`` of the best when it was found.
        tiles: ``[B, slots, K, 4, SIDE, SIDE]`` each of them alone (premultiplied colour, alpha).
    """

    sprite: Tensor
    size: Tensor
    x: Tensor
    y: Tensor
    gain: Tensor
    tiles: Tensor


def guess_background(images: Tensor) -> Tensor:
    """The background variant that explains most pixels, ``[B]``; sprites are outliers and hardly count."""
    grounds = backgrounds().to(images.device)
    error = torch.stack([(images - ground).square().sum(1) for ground in grounds], 1)  # [B, variants, H, W]
    return (1 - (-error / (2 * OUTLIER**2)).exp()).sum((2, 3)).argmin(1)


def without_tint(images: Tensor, ground: Tensor) -> Tensor:
    """Pictures whose background has its true colour: a slight tint must not look like pale sprites everywhere."""
    rest = images - backgrounds().to(images.device)[ground]
    tint = rest.flatten(2).median(2).values.clamp(-TINT, TINT)  # sprites cover less than half
    return images - tint[:, :, None, None]


def find(images: Tensor, ground: Tensor, asked: Tensor) -> Candidates:
    """Slots with their candidates, found one after the other: each is taken away before the next is sought.

    A large sprite halfway between two small ones may explain more than either. So two beginnings are tried, a sprite
    of any size and a small one, and that is kept which explains more in two steps.

    Args:
        images: ``[B, 3, SIDE, SIDE]``.
        ground: ``[B]`` background variants.
        asked: ``[B, A]`` sprites that are candidates in every slot.
    """
    base = backgrounds().to(images.device)[ground]
    rest = images - base
    small_gains = _gains(rest, base, ground)
    small = small_gains.best(asked)
    any_size = _gains(rest, base, ground, upon=small_gains).best(asked)
    beside_small, after_small = _next(rest, base, ground, asked, small)
    beside_any, after_any = _next(rest, base, ground, asked, any_size)

    smaller = small.gain + beside_small.gain.clamp(min=0) > any_size.gain + beside_any.gain.clamp(min=0)
    first, second = _either(smaller, small, any_size), _either(smaller, beside_small, beside_any)
    third = _gains(torch.where(smaller[:, None, None, None], after_small, after_any), base, ground)
    slots = [first, second, third.best(asked, first, second)]
    return Candidates(*(torch.stack([getattr(slot, f.name) for slot in slots], 1) for f in fields(Candidates)))


def _next(rest: Tensor, base: Tensor, ground: Tensor, asked: Tensor, slot: Candidates) -> tuple[Candidates, Tensor]:
    """The best small sprite beside ``slot``, and what remains of the residual without both."""
    rest = _without(rest, base, slot)
    beside = _gains(rest, base, ground).best(asked, slot)
    return beside, _without(rest, base, beside)


def _without(rest: Tensor, base: Tensor, slot: Candidates) -> Tensor:
    """What remains of the residual when a slot's best sprite is taken away, if it explains anything."""
    tile = slot.tiles[:, 0]
    return rest - (tile[:, :3] - tile[:, 3:] * base) * (slot.gain > 0)[:, None, None, None]


def _either(condition: Tensor, yes: Candidates, no: Candidates) -> Candidates:
    def pick(name: str) -> Tensor:
        a, b = getattr(yes, name), getattr(no, name)
        return torch.where(condition.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return Candidates(*(pick(f.name) for f in fields(Candidates)))


@dataclass(frozen=True)
class Gains:
    """The gain and the size (index) of every sprite at every centre, at its best size: ``[B, sprites, SIDE, SIDE]``."""

    gain: Tensor
    size: Tensor

    def best(self, asked: Tensor, *others: Candidates) -> Candidates:
        """The slot of the largest gain that is apart from other slots: fields ``[B, K]``, and ``[B]`` for the gain."""
        best = self.gain.amax(1).flatten(1)
        pixels = torch.arange(SIDE * SIDE, device=best.device)
        for other in others:
            x, y = other.x[:, :1], other.y[:, :1]
            near = (pixels % SIDE - x).square() + (pixels // SIDE - y).square() < APART**2
            best = best.masked_fill(near, NOWHERE)
        gain, centre = best.max(1, keepdim=True)
        return self._around(centre % SIDE, centre // SIDE, gain[:, 0], asked)

    def _around(self, x: Tensor, y: Tensor, gain: Tensor, asked: Tensor) -> Candidates:
        """The best rivals near one centre and the asked sprites, each where it fits best."""
        near = torch.arange(2 * REACH + 1, device=x.device)
        window = ((y + near)[:, :, None] * (SIDE + 2 * REACH) + (x + near)[:, None, :]).flatten(1)
        window = window[:, None].expand(-1, len(SPRITES), -1)
        value, place = pad(self.gain, (REACH,) * 4, value=NOWHERE).flatten(2).gather(2, window).max(2)  # [B, sprites]
        sprite = torch.cat([value.topk(RIVALS, 1).indices, asked], 1)
        place = place.gather(1, sprite)
        x = x + place % len(near) - REACH
        y = y + place // len(near) - REACH
        flat = (sprite * SIDE + y.clamp(0, SIDE - 1)) * SIDE + x.clamp(0, SIDE - 1)
        size = self.size.flatten(1).gather(1, flat).long()
        half = torch.tensor(SIZES, device=x.device)[size] // 2
        return Candidates(sprite, size, x, y, gain, paste(sprite, size, x - half, y - half))


def _gains(rest: Tensor, base: Tensor, ground: Tensor, upon: Gains | None = None) -> Gains:
    """Gains of the small sprites; of the large ones too, ``upon`` those."""
    rest = soften(soften(rest))  # softening is symmetric: soft R · soft D = R softened twice · D
    features = pad(torch.cat([rest, (rest * base).sum(1, keepdim=True)], 1), (MARGIN,) * 4)
    if upon is None:
        gain = rest.new_full((len(rest), len(SPRITES), SIDE, SIDE), NOWHERE)
        size = torch.zeros(gain.shape, dtype=torch.uint8, device=gain.device)
    else:
        gain, size = upon.gain.clone(), upon.size.clone()
    for group in groups(rest.device):
        if group.small == (upon is not None):
            continue
        new = conv2d(features, group.kernel) - group.energy[ground]
        here = (slice(None), group.sprites, group.places, group.places)
        better = new > gain[here]
        gain[here] = torch.where(better, new, gain[here])
        size[here].masked_fill_(better, group.size)
    return Gains(gain, size)


def is_animal(sprite: Tensor) -> Tensor:
    """Whether these sprites (indices) are animals."""
    return sprite < ANIMALS

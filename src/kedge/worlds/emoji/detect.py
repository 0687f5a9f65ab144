"""Find the sprites in a picture: analysis by synthesis over everything that a scene may hold.

For a background B, a sprite with premultiplied colour T and opacity α at some place explains the picture I better than
B alone by

    gain = Σ (I − B)² − Σ (I − T − (1 − α) B)² = 2 Σ R·(T − αB) − Σ (T − αB)²,   R = I − B,

one correlation per sprite and size; the second sum is known beforehand. The largest gains are the sprites: white
sheep in the snow count only by what sets them apart from snow.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from kedge.worlds.emoji.atlas import SIZES, SPRITES
from kedge.worlds.emoji.scenes import SIDE, backgrounds
from kedge.worlds.emoji.templates import ANIMALS, IMPOSSIBLE, Role, groups, paste, soften

RIVALS = 3  # the best sprites of each slot, compared with those that the prompt names
APART = SIDE / 5  # pixels between the centres of two sprites, at least
REACH = SIDE // 16  # pixels: all rivals of a slot have their centres this close to its centre
SMALL, LARGE, MIXED = {Role.SMALL}, {Role.LARGE, Role.ALONE}, {Role.SMALL, Role.LARGE}
TINT = 0.15  # difference of colour that is forgiven when sprites are sought
OUTLIER = 0.3  # error of a pixel that says no more about the background


@dataclass(frozen=True)
class Candidates:
    """What each slot may hold: ``[B, slots, K]``, the first is the slot's best.

    ``RIVALS`` that fit best, then the A sprites that were asked for, then the first and the asked ones again, each at
    its second best place.

    Attributes:
        sprite, size: indices into ``SPRITES`` and ``SIZES``.
        x, y: the pixel of the centre.
        gain: ``[B, slots]`` of the best when it was found.
    """

    sprite: Tensor
    size: Tensor
    x: Tensor
    y: Tensor
    gain: Tensor

    def tiles(self, count: int | None = None) -> Tensor:
        """The first ``count`` alone, ``[..., K, 4, SIDE, SIDE]``: premultiplied colour, alpha."""
        size = self.size[..., :count]
        half = torch.tensor(SIZES, device=size.device)[size] // 2
        return paste(self.sprite[..., :count], size, self.x[..., :count] - half, self.y[..., :count] - half)


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


def find(images: Tensor, ground: Tensor, named: Tensor) -> Candidates:
    """Slots with their candidates, found one after the other: each is taken away before the next is sought.

    A large sprite halfway between two small ones may explain more than either. So two beginnings are tried, a large
    sprite and a small one, and that is kept which explains more in two steps.

    Args:
        images: ``[B, 3, SIDE, SIDE]``.
        ground: ``[B]`` background variants.
        named: ``[B, A]`` sprites that the prompts name, candidates in every slot.
    """
    base = backgrounds().to(images.device)[ground]
    rest = images - base
    small = _gains(rest, base, ground, SMALL).best(named)
    large = _gains(rest, base, ground, LARGE).best(named)
    beside_small, after_small = _next(rest, base, ground, named, small, MIXED)
    beside_large, after_large = _next(rest, base, ground, named, large, SMALL)

    smaller = small.gain + beside_small.gain.clamp(min=0) > large.gain + beside_large.gain.clamp(min=0)
    first, second = _either(smaller, small, large), _either(smaller, beside_small, beside_large)
    rest = torch.where(smaller[:, None, None, None], after_small, after_large)
    third = _gains(rest, base, ground, MIXED)
    slots = [first, second, third.best(named, first, second)]

    def stacked(field: Field[Tensor]) -> Tensor:
        return torch.stack([getattr(slot, field.name) for slot in slots], 1)

    return Candidates(*map(stacked, fields(Candidates)))


def _next(
    rest: Tensor, base: Tensor, ground: Tensor, named: Tensor, slot: Candidates, roles: set[Role]
) -> tuple[Candidates, Tensor]:
    """The best sprite of ``roles`` beside ``slot``, and what remains of the residual without both."""
    rest = _without(rest, base, slot)
    beside = _gains(rest, base, ground, roles).best(named, slot)
    return beside, _without(rest, base, beside)


def _without(rest: Tensor, base: Tensor, slot: Candidates) -> Tensor:
    """What remains of the residual when a slot's best sprite is taken away, if it explains anything."""
    tile = slot.tiles(1)[:, 0]
    return rest - (tile[:, :3] - tile[:, 3:] * base) * (slot.gain > 0)[:, None, None, None]


def _either(condition: Tensor, yes: Candidates, no: Candidates) -> Candidates:
    def pick(field: Field[Tensor]) -> Tensor:
        a, b = getattr(yes, field.name), getattr(no, field.name)
        return torch.where(condition.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return Candidates(*map(pick, fields(Candidates)))


@dataclass(frozen=True)
class Gains:
    """The gain and the size (index) of every sprite at every centre, at its best size: ``[B, sprites, SIDE, SIDE]``."""

    gain: Tensor
    size: Tensor

    def best(self, named: Tensor, *others: Candidates) -> Candidates:
        """The slot of the largest gain that is apart from other slots: fields ``[B, K]``, and ``[B]`` for the gain."""
        best = self.gain.amax(1).flatten(1)
        pixels = torch.arange(SIDE * SIDE, device=best.device)
        for other in others:
            x, y = other.x[:, :1], other.y[:, :1]
            near = (pixels % SIDE - x).square() + (pixels // SIDE - y).square() < APART**2
            best = best.masked_fill(near, -IMPOSSIBLE)
        gain, centre = best.max(1, keepdim=True)
        return self._around(centre % SIDE, centre // SIDE, gain[:, 0], named)

    def _around(self, x: Tensor, y: Tensor, gain: Tensor, named: Tensor) -> Candidates:
        """The best rivals near one centre and the named sprites, each where it fits best."""
        near = torch.arange(2 * REACH + 1, device=x.device)
        window = ((y + near)[:, :, None] * (SIDE + 2 * REACH) + (x + near)[:, None, :]).flatten(1)
        window = window[:, None].expand(-1, len(SPRITES), -1)
        around = pad(self.gain, (REACH,) * 4, value=-2 * IMPOSSIBLE).flatten(2).gather(2, window)
        value, places = around.topk(2, 2)  # [B, sprites, 2]
        rivals = value[:, :, 0].topk(RIVALS, 1).indices
        once = torch.cat([rivals, named], 1)
        twice = torch.cat([rivals[:, :1], named], 1)  # the gains are not exact to the pixel: the fit will tell
        sprite = torch.cat([once, twice], 1)
        place = torch.cat([places[:, :, 0].gather(1, once), places[:, :, 1].gather(1, twice)], 1)
        x = x + place % len(near) - REACH
        y = y + place // len(near) - REACH
        flat = (sprite * SIDE + y.clamp(0, SIDE - 1)) * SIDE + x.clamp(0, SIDE - 1)
        size = self.size.flatten(1).gather(1, flat).long()
        return Candidates(sprite, size, x, y, gain)


def _gains(rest: Tensor, base: Tensor, ground: Tensor, roles: set[Role]) -> Gains:
    """Gains of the sprites of ``roles``."""
    rest = soften(soften(rest))  # softening is symmetric: soft R · soft D = R softened twice · D
    features = torch.cat([rest, (rest * base).sum(1, keepdim=True)], 1)
    gain = rest.new_full((len(rest), len(SPRITES), SIDE, SIDE), -IMPOSSIBLE)
    size = torch.zeros(gain.shape, dtype=torch.uint8, device=gain.device)
    written: set[int] = set()
    for group in groups(rest.device):
        if group.role not in roles:
            continue
        new = conv2d(pad(features, (group.border,) * 4), group.kernel) - group.energy[ground]
        region = (slice(None), group.sprites, group.places, group.places)
        if group.sprites.start not in written:
            gain[region], size[region] = new, group.sizes
        else:
            size[region] = torch.where(new > gain[region], group.sizes, size[region])
            gain[region] = torch.maximum(new, gain[region])
        written.add(group.sprites.start)
    return Gains(gain, size)


def is_animal(sprite: Tensor) -> Tensor:
    """Whether these sprites (indices) are animals."""
    return sprite < ANIMALS

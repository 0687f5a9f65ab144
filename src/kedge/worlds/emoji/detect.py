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
from kedge.worlds.emoji.scenes import MAX_LAYERS, SIDE, backgrounds
from kedge.worlds.emoji.templates import ANIMALS, MARGIN, groups, paste

RIVALS = 3  # the best sprites of each slot, judged beside those that the prompt names
APART = SIDE / 5  # pixels between the centres of two sprites, at least
REACH = SIDE // 16  # pixels: all rivals of a slot have their centres this close to its centre
NOWHERE = -1e4  # the gain of a place where a sprite cannot be
OUTLIER = 0.3  # error of a pixel that says no more about the background


@dataclass(frozen=True)
class Candidates:
    """What each slot may hold: all ``[B, slots, rivals + asked]``; the first is the slot's best.

    Attributes:
        sprite, size: indices into ``SPRITES`` and ``SIZES``.
        x, y: the pixel of the centre.
        tiles: ``[B, slots, K, 4, SIDE, SIDE]`` each of them alone (premultiplied colour, alpha).
    """

    sprite: Tensor
    size: Tensor
    x: Tensor
    y: Tensor
    tiles: Tensor


def guess_background(images: Tensor) -> Tensor:
    """The background variant that explains most pixels, ``[B]``; sprites are outliers and hardly count."""
    grounds = backgrounds().to(images.device)
    error = torch.stack([(images - ground).square().sum(1) for ground in grounds], 1)  # [B, variants, H, W]
    return (1 - (-error / (2 * OUTLIER**2)).exp()).sum((2, 3)).argmin(1)


def find(images: Tensor, ground: Tensor, asked: Tensor) -> Candidates:
    """Slots with their candidates, found one after the other: each is taken away before the next is sought.

    Args:
        images: ``[B, 3, SIDE, SIDE]``.
        ground: ``[B]`` background variants.
        asked: ``[B, A]`` sprites that are candidates in every slot.
    """
    base = backgrounds().to(images.device)[ground]
    rest = images - base
    centres = torch.empty(len(images), 0, dtype=torch.long, device=images.device)
    slots = []
    for layer in range(MAX_LAYERS):
        gain, size = _gains(rest, base, ground, crowded=layer > 0)
        centre = _best_apart(gain, centres)
        slot = _candidates(gain, size, centre, asked)
        tile = slot.tiles[:, 0]
        explains = gain.flatten(1).amax(1) > 0
        rest = rest - (tile[:, :3] - tile[:, 3:] * base) * explains[:, None, None, None]
        centres = torch.cat([centres, centre], 1)
        slots.append(slot)
    return Candidates(*(torch.stack([getattr(slot, f.name) for slot in slots], 1) for f in fields(Candidates)))


def _gains(rest: Tensor, base: Tensor, ground: Tensor, crowded: bool) -> tuple[Tensor, Tensor]:
    """The gain and the size (index) of every sprite at every centre, at its best size: ``[B, sprites, SIDE, SIDE]``."""
    features = pad(torch.cat([rest, (rest * base).sum(1, keepdim=True)], 1), (MARGIN,) * 4)
    gain = rest.new_full((len(rest), len(SPRITES), SIDE, SIDE), NOWHERE)
    size = torch.zeros(gain.shape, dtype=torch.uint8, device=gain.device)
    for group in groups(rest.device):
        if crowded and not group.crowded:
            continue
        new = conv2d(features, group.kernel) - group.energy[ground]
        here = (slice(None), group.sprites, group.places, group.places)
        better = new > gain[here]
        gain[here] = torch.where(better, new, gain[here])
        size[here].masked_fill_(better, group.size)
    return gain, size


def _best_apart(gain: Tensor, others: Tensor) -> Tensor:
    """The centre of the largest gain that is apart from other centres ``[B, n]``: a flat pixel, ``[B, 1]``."""
    best = gain.amax(1).flatten(1)
    pixels = torch.arange(SIDE * SIDE, device=gain.device)
    for other in others.T[:, :, None]:
        away = (pixels % SIDE - other % SIDE).square() + (pixels // SIDE - other // SIDE).square()
        best = best.masked_fill(away < APART**2, NOWHERE)
    return best.argmax(1, keepdim=True)


def _candidates(gain: Tensor, size: Tensor, centre: Tensor, asked: Tensor) -> Candidates:
    """The best rivals near one centre and the asked sprites, each where it fits best: fields ``[B, K]``."""
    x, y = centre % SIDE, centre // SIDE
    near = torch.arange(2 * REACH + 1, device=gain.device)
    window = ((y + near)[:, :, None] * (SIDE + 2 * REACH) + (x + near)[:, None, :]).flatten(1)
    window = window[:, None].expand(-1, len(SPRITES), -1)
    border = (REACH,) * 4
    value, place = pad(gain, border, value=NOWHERE).flatten(2).gather(2, window).max(2)  # [B, sprites]
    sprite = torch.cat([value.topk(RIVALS, 1).indices, asked], 1)
    place = place.gather(1, sprite)
    x = x + place % len(near) - REACH
    y = y + place // len(near) - REACH
    flat = (sprite * SIDE + y.clamp(0, SIDE - 1)) * SIDE + x.clamp(0, SIDE - 1)
    chosen = size.flatten(1).gather(1, flat).long()
    half = torch.tensor(SIZES, device=gain.device)[chosen] // 2
    return Candidates(sprite, chosen, x, y, paste(sprite, chosen, x - half, y - half))


def is_animal(sprite: Tensor) -> Tensor:
    """Whether these sprites (indices) are animals."""
    return sprite < ANIMALS

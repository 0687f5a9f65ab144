"""How well the candidates explain a picture: what is there, how surely, and how well it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from kedge.worlds.emoji.detect import Candidates, is_animal
from kedge.worlds.emoji.scenes import backgrounds
from kedge.worlds.emoji.templates import BORDER, soften

ANIMAL_TOLERANCE = 0.25  # a root mean square error of this size costs a factor of e
CERTAINTY = 6.0  # how steeply the identity follows the margin over the best rival
PRESENT = 0.3  # share of a sprite's contrast that must be there for it to count as drawn
STEEPNESS = 14.0
FAINT = 0.3  # contrast (sum of squares) below which nothing can be told


@dataclass(frozen=True)
class Fit:
    """How well the candidates explain the picture.

    Attributes:
        present: ``[B, slots]`` whether anything is drawn there, in [0, 1].
        animal: ``[B, slots]`` whether the candidate that explains the slot best is an animal.
        match: ``[B, slots, A]`` how well each asked sprite agrees, in [0, 1]: error and lead over its rivals.
        x, y: ``[B, slots, A]`` where each asked sprite would be.
        tile: ``[B, slots, 4, SIDE, SIDE]`` the best, alone.
        sprite, left: ``[B, slots]`` the best's sprite and its centre's column.
    """

    present: Tensor
    animal: Tensor
    match: Tensor
    x: Tensor
    y: Tensor
    tile: Tensor
    sprite: Tensor
    left: Tensor


def fit(images: Tensor, plain: Tensor, ground: Tensor, found: Candidates, asked: int) -> Fit:
    """Explain pictures on the background variants ``ground`` by each candidate; the last ``asked`` are the prompt's.

    Each slot is judged on the pixels that no other slot covers: what is there on ``plain``, the pictures without
    their tint, softened; how well it is drawn on ``images``.
    """
    base = backgrounds().to(images.device)[ground]
    rest = (images - base)[:, None, None]
    colour, alpha = found.tiles[:, :, :, :3], found.tiles[:, :, :, 3:]
    change = colour - alpha * base[:, None, None]  # what drawing the candidate adds to the background
    miss = (alpha * (rest - change).square()).sum(3)  # [B, slots, K, H, W]
    soft_rest, soft = soften(plain - base)[:, None, None], soften(change)
    shown = _shown(soft_rest[:, 0, 0], soft[:, :, 0], alpha[:, :, 0])
    cover = shown[:, :, None, None] * spread(alpha[:, :, 0, 0])
    weight = _uncovered_by_others(cover)[:, :, None]  # [B, slots, 1, H, W]
    weighted = weight[:, :, :, None] * soft
    gram = torch.einsum("bskp,bslp->bskl", weighted.flatten(3), soft.flatten(3))
    energy = gram.diagonal(dim1=2, dim2=3)
    gain = 2 * (soft_rest * weighted).sum((3, 4, 5)) - energy
    best = gain.argmax(2)

    def chosen(values: Tensor) -> Tensor:
        return values.gather(2, best[:, :, None])[:, :, 0]

    pixels = (weight * alpha[:, :, :, 0]).sum((3, 4))
    quality = (-((weight * miss).sum((3, 4)) / (3 * pixels + 1e-6)).sqrt() / ANIMAL_TOLERANCE).exp()
    match = quality * torch.sigmoid(CERTAINTY * _lead(found.sprite, gain, energy, gram))
    tile = found.tiles.gather(2, best[:, :, None, None, None, None].expand(-1, -1, 1, *found.tiles.shape[3:]))[:, :, 0]
    return Fit(
        _presence(chosen(gain), chosen(energy)),
        is_animal(chosen(found.sprite)),
        match[:, :, -asked:],
        found.x[:, :, -asked:],
        found.y[:, :, -asked:],
        tile,
        chosen(found.sprite),
        chosen(found.x),
    )


def _presence(gain: Tensor, energy: Tensor) -> Tensor:
    return torch.sigmoid(STEEPNESS * (gain / (energy + FAINT) - PRESENT))


def _shown(rest: Tensor, change: Tensor, alpha: Tensor) -> Tensor:
    """Whether each slot's first candidate is there, judged away from the slots before it: ``[B, slots]``."""
    free = torch.ones_like(alpha[:, 0])
    shown = []
    for i in range(change.shape[1]):
        weighted = free * change[:, i]
        energy = (weighted * change[:, i]).sum((1, 2, 3))
        shown.append(_presence(2 * (weighted * rest).sum((1, 2, 3)) - energy, energy))
        free = free * (1 - shown[-1][:, None, None, None] * spread(alpha[:, i])).square()
    return torch.stack(shown, 1)


def spread(alpha: Tensor) -> Tensor:
    """Opacity ``[B, n, H, W]`` widened by as much as a soft picture spreads a sprite."""
    return max_pool2d(alpha, 2 * BORDER + 1, stride=1, padding=BORDER)


def _uncovered_by_others(cover: Tensor) -> Tensor:
    free = (1 - cover).square()
    others = [torch.cat([free[:, :i], free[:, i + 1 :]], 1).prod(1) for i in range(cover.shape[1])]
    return torch.stack(others, 1)


def _lead(sprite: Tensor, gain: Tensor, energy: Tensor, gram: Tensor) -> Tensor:
    """Where the picture lies between each candidate (1) and its nearest rival, nothing included (−1): ``[B, S, K]``.

    The picture is projected on the line from the rival's scene to the candidate's; halfway is 0.
    """
    apart = energy[..., :, None] + energy[..., None, :] - 2 * gram
    ratio = (gain[..., :, None] - gain[..., None, :]) / (apart + 1e-3)
    same = sprite[..., :, None] == sprite[..., None, :]
    rivals = ratio.masked_fill(same, 1.0).amin(3)
    return torch.minimum(rivals, gain / (energy + 1e-3)).clamp(-1, 1)

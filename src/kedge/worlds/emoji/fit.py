"""How well the candidates explain a picture: what is there, how surely, and how well it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from kedge.worlds.emoji.detect import RIVALS, Candidates, is_animal
from kedge.worlds.emoji.scenes import backgrounds
from kedge.worlds.emoji.templates import BORDER, soften

ANIMAL_TOLERANCE = 0.25  # a root mean square error of this size costs a factor of e
CERTAINTY = 6.0  # how steeply the identity follows the margin over the best rival
PRESENT = 0.3  # share of a sprite's contrast that must be there for it to count as drawn
STEEPNESS = 14.0
VISIBLE = 0.3  # share of a sprite that must not be hidden by others
FAINT = 0.3  # contrast (sum of squares) below which nothing can be told


@dataclass(frozen=True)
class Fit:
    """How well the candidates explain the picture.

    Attributes:
        present: ``[B, slots]`` whether anything is drawn there, in [0, 1].
        animal: ``[B, slots]`` whether the candidate that explains the slot best is an animal.
        match: ``[B, slots, A]`` how well each asked sprite agrees, in [0, 1]: error and lead over its rivals.
        sprite, x, y: ``[B, slots]`` the best candidate and its centre.
        tile: ``[B, slots, 4, SIDE, SIDE]`` it alone.
    """

    present: Tensor
    animal: Tensor
    match: Tensor
    sprite: Tensor
    x: Tensor
    y: Tensor
    tile: Tensor


def fit(images: Tensor, plain: Tensor, ground: Tensor, candidates: Candidates) -> Fit:
    """Explain pictures on the background variants ``ground`` by each candidate.

    Each slot is judged on the pixels that no other slot covers: what is there on ``plain``, the pictures without
    their tint, softened; how well it is drawn on ``images``.
    """
    base = backgrounds().to(images.device)[ground]
    tiles = candidates.tiles()
    colour, alpha = tiles[:, :, :, :3], tiles[:, :, :, 3:]
    change = colour - alpha * base[:, None, None]  # what drawing the candidate adds to the background
    soft_rest, soft = soften(plain - base), soften(change)
    wide = spread(alpha[:, :, 0])
    shown = _shown(soft_rest, soft[:, :, 0], wide)
    weight = _uncovered_by_others(shown[:, :, None, None, None] * wide)  # [B, slots, 1, H, W]
    weighted = weight[:, :, :, None] * soft
    gram = torch.einsum("bskp,bslp->bskl", weighted.flatten(3), soft.flatten(3))
    energy = gram.diagonal(dim1=2, dim2=3)
    gain = 2 * torch.einsum("bskp,bp->bsk", weighted.flatten(3), soft_rest.flatten(1)) - energy

    best = gain.argmax(2, keepdim=True)
    named = _named(gain)
    change, alpha = _take(change, named), _take(alpha, named)[:, :, :, 0]
    error = _error((images - base)[:, None, None] - change, weight * alpha)
    visible = (weight * alpha).sum((3, 4)) / (alpha.sum((3, 4)) + 1e-6)
    lead = _lead(candidates.sprite, gain, energy, gram).gather(2, named)
    match = (-error / ANIMAL_TOLERANCE).exp() * torch.sigmoid(CERTAINTY * lead) * (visible / VISIBLE).clamp(max=1)
    sprite = _take(candidates.sprite, best)[:, :, 0]
    return Fit(
        _presence(_take(gain, best), _take(energy, best))[:, :, 0],
        is_animal(sprite),
        match,
        sprite,
        _take(candidates.x, best)[:, :, 0],
        _take(candidates.y, best)[:, :, 0],
        _take(tiles, best)[:, :, 0],
    )


def _named(gain: Tensor) -> Tensor:
    """For each named sprite the better of its two places: the index of the candidate, ``[B, slots, A]``."""
    count = (gain.shape[2] - RIVALS - 1) // 2
    first = torch.arange(RIVALS, RIVALS + count, device=gain.device)
    second = first + count + 1
    return torch.where(gain[:, :, second] > gain[:, :, first], second, first)


def _take(values: Tensor, index: Tensor) -> Tensor:
    """``[B, slots, K, ...]`` at ``index`` ``[B, slots, n]``."""
    wide = index.reshape(*index.shape, *(1,) * (values.ndim - 3)).expand(-1, -1, -1, *values.shape[3:])
    return values.gather(2, wide)


def _presence(gain: Tensor, energy: Tensor) -> Tensor:
    return torch.sigmoid(STEEPNESS * (gain / (energy + FAINT) - PRESENT))


def _error(miss: Tensor, weight: Tensor) -> Tensor:
    """Root mean square of ``miss`` ``[B, S, A, 3, H, W]`` under ``weight`` ``[B, S, A, H, W]``."""
    squares = miss.square().sum(3).flatten(3)
    return ((squares * weight.flatten(3)).sum(3) / (3 * weight.sum((3, 4)) + 1e-6)).sqrt()


def _shown(rest: Tensor, change: Tensor, wide: Tensor) -> Tensor:
    """Whether each slot's first candidate is there, judged away from the slots before it: ``[B, slots]``."""
    free = torch.ones_like(wide[:, 0])
    shown = []
    for i in range(change.shape[1]):
        weighted = free * change[:, i]
        energy = (weighted * change[:, i]).sum((1, 2, 3))
        shown.append(_presence(2 * (weighted * rest).sum((1, 2, 3)) - energy, energy))
        free = free * (1 - shown[-1][:, None, None, None] * wide[:, i]).square()
    return torch.stack(shown, 1)


def spread(alpha: Tensor) -> Tensor:
    """Opacity ``[..., H, W]`` widened by as much as a soft picture spreads a sprite."""
    height, width = alpha.shape[-2:]
    framed = pad(alpha, (BORDER,) * 4)
    rows = framed[..., :height, :]
    for i in range(1, 2 * BORDER + 1):
        rows = torch.maximum(rows, framed[..., i : i + height, :])
    widened = rows[..., :width]
    for i in range(1, 2 * BORDER + 1):
        widened = torch.maximum(widened, rows[..., i : i + width])
    return widened


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
    nothing = (gain - FAINT) / (energy + FAINT)
    return torch.minimum(rivals, nothing).clamp(-1, 1)

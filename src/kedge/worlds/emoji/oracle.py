"""The emoji world's true preference: a program that knows the sprites, never trained and never trained on.

It finds the sprites of a picture (``detect``, ``fit``), compares them with what the prompt asks (``judge``), and
multiplies the parts. Every part falls smoothly with the error it measures, so that small improvements show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from kedge.worlds.emoji import judge
from kedge.worlds.emoji.detect import find, guess_background, without_tint
from kedge.worlds.emoji.fit import Fit, fit
from kedge.worlds.emoji.scenes import SIDE

# Exponents of the geometric mean; divided by their sum. The activity weighs more where the prompt asks for one.
WEIGHTS = {"animal": 0.40, "number": 0.12, "place": 0.12, "background": 0.20, "clean": 0.16}
ACTIVITY_ASKED, ACTIVITY_FREE = 0.25, 0.05
FLOOR = 0.02  # of each part, so that one failure leaves the others a say
RIGHT = 0.3  # the match from which an animal counts as found


@dataclass(frozen=True)
class OracleParts:
    """What the oracle sees, one entry a sample.

    Attributes:
        animal, number, place, background, clean, activity: ``[B]`` in [0, 1].
        total: their weighted geometric mean.
        drawn: ``[B, 2]`` the animals (indices into ``ANIMAL_NAMES``) that are there, from left to right, −1 for none.
        right: ``[B]`` bool: the asked animals are what is drawn, well enough to be recognised.
    """

    animal: Tensor
    number: Tensor
    place: Tensor
    background: Tensor
    clean: Tensor
    activity: Tensor
    total: Tensor
    drawn: Tensor
    right: Tensor


class Oracle:
    """Scores pictures of the emoji world against their prompts.

    Args:
        chunk: samples worked on at a time; bounds the memory (about 3 MB each).
    """

    def __init__(self, chunk: int = 16):
        self.chunk = chunk

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """The total, ``[B]`` float32 in [0, 1]; arguments as for :meth:`parts`."""
        return self.parts(images, prompts).total

    @torch.no_grad()
    def parts(self, images: Tensor, prompts: Sequence[str]) -> OracleParts:
        """The total and its parts.

        Args:
            images: ``[B, 3, H, H]`` in [0, 1] (values outside are clamped); other sizes are averaged to the world's.
            prompts: B captions.

        Raises:
            CaptionError: a prompt is not of the emoji world.
            ValueError: shapes that do not fit.
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
            raise ValueError(f"the oracle takes square pictures [B, 3, H, H], not {list(images.shape)}")
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} pictures but {len(prompts)} prompts")
        images = images.detach().float().nan_to_num(0.5, 1.0, 0.0).clamp(0, 1)
        if images.shape[-1] != SIDE:
            images = interpolate(images, (SIDE, SIDE), mode="area")
        if not len(images):
            empty = images.new_zeros(0)
            return OracleParts(*(empty,) * 7, empty.long().reshape(0, 2), empty.bool())
        chunks = []
        for start in range(0, len(images), self.chunk):
            chunks.append(_parts(images[start : start + self.chunk], prompts[start : start + self.chunk]))

        def joined(field: Field[Tensor]) -> Tensor:
            return torch.cat([getattr(chunk, field.name) for chunk in chunks])

        return OracleParts(*map(joined, fields(OracleParts)))


def _parts(images: Tensor, prompts: Sequence[str]) -> OracleParts:
    prompted = judge.read(prompts, images.device)
    ground = guess_background(images)
    plain = without_tint(images, ground)
    fitted = fit(images, plain, ground, find(plain, ground, prompted.sprites))
    animal, place = judge.animal_and_place(fitted, prompted)
    background, clean = judge.background_and_clean(images, fitted, prompted)
    parts = {
        "animal": animal,
        "number": judge.number(fitted, prompted),
        "place": place,
        "background": background,
        "clean": clean,
        "activity": judge.activity(fitted, prompted),
    }
    names = _drawn(fitted)
    return OracleParts(**parts, total=_total(parts, prompted), drawn=names, right=_right(names, animal, prompted))


def _total(parts: dict[str, Tensor], prompted: judge.PromptTensors) -> Tensor:
    free = (prompted.props < 0).all(1)
    acts = torch.where(free, ACTIVITY_FREE, ACTIVITY_ASKED)

    def log(name: str) -> Tensor:
        return (FLOOR + (1 - FLOOR) * parts[name]).log()

    total = torch.zeros_like(acts, dtype=torch.float32)
    for name, weight in WEIGHTS.items():
        total = total + weight * log(name)
    total = total + acts * log("activity")
    return (total / (sum(WEIGHTS.values()) + acts)).exp()


def _drawn(fitted: Fit) -> Tensor:
    """The two animals most surely drawn, from left to right."""
    drawn = fitted.present * fitted.animal
    sure, slot = drawn.topk(2, 1)
    left = torch.where(sure > 0.5, fitted.x.gather(1, slot), 10**6)
    names = torch.where(sure > 0.5, fitted.sprite.gather(1, slot), -1)
    return names.gather(1, left.argsort(1))


def _right(drawn: Tensor, animal: Tensor, prompted: judge.PromptTensors) -> Tensor:
    """One in the prompt: it is among those drawn. Two: they are the two drawn."""
    one = (drawn == prompted.animals[:, :1]).any(1)
    both = (drawn.sort(1).values == prompted.animals.sort(1).values).all(1)
    return torch.where(prompted.number == 1, one, both) & (animal >= RIGHT)


class OracleReward:
    """The oracle as a reward, for evaluation and for algorithms that need no gradient."""

    name = "oracle"
    differentiable = False

    def __init__(self) -> None:
        self._oracle = Oracle()

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score ``images`` ``[B, 3, H, H]`` in [0, 1] for ``prompts``; returns ``[B]`` float32, without a gradient."""
        return self._oracle(images, prompts)

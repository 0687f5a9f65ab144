"""Weighted sums of rewards, and callables of the user's own as rewards."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kedge.quiet import quiet_loading
from kedge.registry import load_object
from kedge.rewards.base import Reward, RewardError, check_shape, in_parts
from kedge.rewards.catalogue import REWARDS, find
from kedge.rewards.expression import Term, parse
from kedge.rewards.preprocess import check_batch
from kedge.rewards.scale import Scale, natural_scale
from kedge.rewards.sources import locate
from kedge.rewards.user import load_callable
from kedge.user_code import calling


def load(text: str, device: Any = "cpu", dtype: torch.dtype = torch.float32) -> Reward:
    """See :func:`kedge.rewards.load_reward`."""
    terms = parse(text)
    if len(terms) == 1 and terms[0].weight == 1 and not terms[0].standardised:
        return _load_term(terms[0], device, dtype)
    scales = []
    for term in terms:
        scales.append(natural_scale(term) if term.standardised else Scale())
    summands = []
    for term, scale in zip(terms, scales, strict=True):
        name = replace(term, standardised=False, floor="").text
        summands.append(
            Summand(name, term.weight, reward=_load_term(term, device, dtype), scale=scale, floor=term.floor)
        )
    return Weighted(text, tuple(summands))


def _load_term(term: Term, device: Any, dtype: torch.dtype) -> Reward:
    if term.name not in REWARDS and ":" in term.name:
        return _load_callable(term)
    spec = find(term.name)
    settings = spec.read_settings(term.settings)
    arguments: dict[str, Any] = {**locate(spec, term.source), **spec.options, **settings}
    if spec.parts:
        arguments |= {"name": spec.name, "device": device}
    if spec.source == "server":
        arguments["source"] = term.source
    elif spec.parts:
        arguments["dtype"] = dtype
    factory = load_object(spec.factory)
    with quiet_loading():
        reward: Reward = factory(**arguments)
    return reward


def _load_callable(term: Term) -> Reward:
    scorer = load_callable(term.name)
    if inspect.isclass(scorer):
        with calling(f"reward {term.name!r}", RewardError):
            instance: Any = scorer(*([term.source] if term.source else []))
        return Custom(term.name, instance)
    if term.source:
        raise ValueError(f"{term.name!r} is a function, which takes no source: write it without '@{term.source}'")
    return Custom(term.name, scorer)


class Custom:
    """Any callable ``(images [B, 3, H, W] in [0, 1], prompts) -> B scores`` as a reward.

    It is taken to have no gradient unless it says ``differentiable = True``. Scores may be a tensor, an array or a
    list; a reward without gradient never sees a graph, and gets images of its own, into which it may write.
    """

    def __init__(self, name: str, function: Callable[..., Any]):
        self.name, self.function = name, function
        self.differentiable = bool(getattr(function, "differentiable", False))

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``.

        Raises:
            RewardError: the callable failed, did not return one number for each image, wrote into images that others
                read too, or has no gradient although it says so.
        """
        images = check_batch(images, prompts)
        lent = images if self.differentiable else images.detach().clone()
        version = lent._version
        with calling(f"reward {self.name!r}", RewardError), torch.set_grad_enabled(torch.is_grad_enabled()):
            returned = self.function(lent, list(prompts))
        if self.differentiable and lent._version != version:
            raise RewardError(
                f"reward {self.name!r} writes into the images that it is given, which others read too: write "
                "images = images - 0.5, not images -= 0.5"
            )
        scores = self._as_tensor(returned, images)
        check_shape(self.name, scores, prompts)
        if not self.differentiable:
            return scores.detach()
        if torch.is_grad_enabled() and images.requires_grad and not scores.requires_grad:
            raise RewardError(
                f"reward {self.name!r} says differentiable = True, but its scores have no gradient with respect to the "
                "images: compute them in torch, without detach(), no_grad(), item() or numpy; or leave differentiable "
                "out and train it with a policy gradient (algorithm=rlcm)"
            )
        return scores

    def _as_tensor(self, returned: Any, images: Tensor) -> Tensor:
        """The scores as numbers on the images' device, if that is what they are."""
        if isinstance(returned, Tensor) and returned.is_meta:
            raise RewardError(f"reward {self.name!r} returned a tensor on the meta device, which holds no numbers")
        try:
            return torch.as_tensor(returned, dtype=images.dtype, device=images.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise RewardError(
                f"reward {self.name!r} returned {reprlib.repr(returned)}, a {type(returned).__name__}: return one "
                f"number for each of the {len(images)} images, as a tensor, an array or a list"
            ) from error


@dataclass(frozen=True)
class Summand:
    """One summand: ``weight · (reward − scale.centre) / scale.spread``; ``name`` is as it was written.

    One with a ``floor`` adds nothing: it is scored, and whoever trains sees that it does not fall.
    """

    name: str
    weight: float
    reward: Reward
    scale: Scale
    floor: str = ""


class Weighted:
    """A weighted sum; differentiable if all of its parts are.

    Attributes:
        summands: the weights of what is added.
        floors: the levels (``base`` or a number) of what is only scored.
    """

    def __init__(self, name: str, parts: tuple[Summand, ...]):
        self.name, self.parts = name, parts
        self.differentiable = all(part.reward.differentiable for part in parts)
        self.summands: dict[str, float] = {}
        self.floors: dict[str, str] = {}
        for part in parts:
            if part.floor:
                self.floors[part.name] = part.floor
            else:
                self.summands[part.name] = self.summands.get(part.name, 0.0) + part.weight

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``."""
        return self.in_parts(images, prompts)[0]

    def in_parts(self, images: Tensor, prompts: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, and by name each reward's own score and what that is made of, in their own units."""
        total = torch.zeros(len(images), device=images.device)
        parts: dict[str, Tensor] = {}
        for part in self.parts:
            score, details = in_parts(part.reward, images, prompts)
            if not part.floor:
                total = total + part.weight * part.scale(score)
            parts |= {part.name: score, **details}
        return (total if self.differentiable else total.detach()), parts

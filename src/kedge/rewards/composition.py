"""Weighted sums of rewards, and callables of the user's own as rewards."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kedge.quiet import quiet_loading
from kedge.registry import load_object
from kedge.rewards.base import Reward, check_shape
from kedge.rewards.catalogue import REWARDS, find
from kedge.rewards.expression import Term, parse
from kedge.rewards.preprocess import check_batch
from kedge.rewards.scale import Scale, natural_scale
from kedge.rewards.sources import locate
from kedge.rewards.user import load_callable


def load(text: str, device: Any = "cpu", dtype: torch.dtype = torch.float32) -> Reward:
    """See :func:`kedge.rewards.load_reward`."""
    terms = parse(text)
    if len(terms) == 1 and terms[0].weight == 1 and not terms[0].standardised:
        return _load_term(terms[0], device, dtype)
    scales = [natural_scale(term) if term.standardised else Scale() for term in terms]
    rewards = [_load_term(term, device, dtype) for term in terms]
    return Weighted(
        text,
        tuple(Summand(term.weight, reward, scale) for term, reward, scale in zip(terms, rewards, scales, strict=True)),
    )


def _load_term(term: Term, device: Any, dtype: torch.dtype) -> Reward:
    if term.name not in REWARDS and ":" in term.name:
        return _load_callable(term)
    spec = find(term.name)
    arguments: dict[str, Any] = {**locate(spec, term.source), **spec.options}
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
        instance: Any = scorer(*([term.source] if term.source else []))
        return Custom(term.name, instance)
    if term.source:
        raise ValueError(f"{term.name!r} is a function, which takes no source: write it without '@{term.source}'")
    return Custom(term.name, scorer)


class Custom:
    """Any callable ``(images [B, 3, H, W] in [0, 1], prompts) -> B scores`` as a reward.

    It is taken to have no gradient unless it says ``differentiable = True``. Scores may be a tensor, an array or a
    list; a reward without gradient never sees a graph.
    """

    def __init__(self, name: str, function: Callable[..., Any]):
        self.name, self.function = name, function
        self.differentiable = bool(getattr(function, "differentiable", False))

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``.

        Raises:
            ValueError: the callable did not return one number for each image.
        """
        images = check_batch(images, prompts)
        scores = self.function(images if self.differentiable else images.detach(), list(prompts))
        scores = torch.as_tensor(scores, dtype=images.dtype, device=images.device)
        check_shape(self.name, scores, prompts)
        return scores if self.differentiable else scores.detach()


@dataclass(frozen=True)
class Summand:
    """One summand: ``weight · (reward − scale.centre) / scale.spread``."""

    weight: float
    reward: Reward
    scale: Scale


class Weighted:
    """A weighted sum; differentiable if all of its parts are."""

    def __init__(self, name: str, parts: tuple[Summand, ...]):
        self.name, self.parts = name, parts
        self.differentiable = all(part.reward.differentiable for part in parts)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``."""
        total = torch.zeros(len(images), device=images.device)
        for part in self.parts:
            total = total + part.weight * part.scale(part.reward(images, prompts))
        return total if self.differentiable else total.detach()

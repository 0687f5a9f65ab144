"""Differentiable surrogates of a reward: another reward, or a ridge regression on frozen features of images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from kedge.algorithms.base import Context
from kedge.rewards import load_reward
from kedge.rewards.base import Reward

if TYPE_CHECKING:
    from torch import Tensor

RIDGE = "ridge("
STATE = "ridge"  # of Context.state
PENALTY = 1e-2  # λ, as a share of the features' mean variance
FORGET = 0.95  # weight of earlier batches at each new one, so that S follows the policy


@lru_cache(maxsize=4)
def frozen_reward(name: str, device: torch.device) -> Reward:
    """The reward called ``name``, loaded once."""
    return load_reward(name, device)


class Surrogate:
    """S as a reward that keeps the images of its last call, so that the true reward can score them, too."""

    differentiable = True

    def __init__(self, reward: Reward):
        self.reward, self.name = reward, reward.name
        self.images = torch.empty(0)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """S of ``[B, 3, H, W]``: ``[B]``, with graph."""
        self.images = images.detach()
        return self.reward(images, prompts)

    def observe(self, rewards: Tensor) -> None:
        """Take note of the rewards of the last pictures; a fixed surrogate learns nothing from them."""

    def close(self, context: Context) -> None:
        """The batch is over."""


class RidgeSurrogate(Surrogate):
    """S(x) = w · φ(x), with w in closed form from the policy's own earlier pictures; φ are frozen image features.

    w = (C + λ I)⁻¹ c, of the covariances C of the features and c of features and rewards. Sums, weighted by
    :data:`FORGET`, live in ``context.state``; before the first batch w = 0.

    Args:
        text: ``ridge(REWARD)``, of a reward with image features.

    Raises:
        ValueError: for a reward that has none.
    """

    def __init__(self, text: str, context: Context):
        self.name = text
        reward: Any = frozen_reward(self.reward_of(text), context.policy.device)
        clip = getattr(reward, "clip", reward)
        if not hasattr(clip, "image_features"):
            raise ValueError(f"{text}: {reward.name} has no image features; clipscore and pickscore have")
        self._features = clip.image_features
        self._sums: dict[str, Tensor] = context.state.get(STATE, {})
        self._weights = _solve(self._sums) if self._sums else None
        self._batch: list[tuple[Tensor, Tensor]] = []
        self._shown = torch.empty(0)
        self.images = torch.empty(0)

    @staticmethod
    def reward_of(text: str) -> str:
        """``clipscore@emoji`` of ``ridge(clipscore@emoji)``."""
        return text.removeprefix(RIDGE).removesuffix(")")

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """S of ``[B, 3, H, W]``: ``[B]``, with graph."""
        self.images = images.detach()
        features: Tensor = self._features(images).float()
        self._shown = features.detach().double().cpu()
        if self._weights is None:
            return features.sum(1) * 0
        return features @ self._weights.to(features)

    def observe(self, rewards: Tensor) -> None:
        """Record the rewards ``[B]`` of the pictures that were scored last."""
        self._batch.append((self._shown, rewards.detach().double().cpu()))

    def close(self, context: Context) -> None:
        """Take the batch's pictures, of all processes, into the sums."""
        features = torch.cat([shown for shown, _ in self._batch])
        rewards = torch.cat([worth for _, worth in self._batch])
        rows = torch.cat([torch.ones(len(rewards), 1, dtype=torch.float64), features, rewards[:, None]], dim=1)
        everyone = torch.stack(context.gather([rows.T @ rows])).sum(0)
        before = self._sums.get("moments")
        context.state[STATE] = {"moments": everyone if before is None else FORGET * before + everyone}


def _solve(sums: dict[str, Tensor]) -> Tensor:
    """w ``[D]`` float32 from the moments of (1, φ, R)."""
    moments = sums["moments"]
    count, means = moments[0, 0], moments[0, 1:] / moments[0, 0]
    covariance = moments[1:, 1:] / count - torch.outer(means, means)
    features = covariance[:-1, :-1]
    penalty = PENALTY * features.diagonal().mean().clamp(min=1e-12)
    identity = torch.eye(len(features), dtype=features.dtype)
    weights: Tensor = torch.linalg.solve(features + penalty * identity, covariance[:-1, -1])
    return weights.float()

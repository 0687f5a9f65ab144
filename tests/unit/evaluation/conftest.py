"""The painter of test runs, set to paint the colour that a prompt stands for; its adapter paints it stronger."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from helpers.training_world import Paint, words

COLOURS = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)) / 8**0.5  # of a prompt's words


class ColourReward:
    """How much of the prompt's colour the picture has."""

    name, differentiable = "colour", True

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        self.seen.append(images)
        return ((images.mean((2, 3)) - 0.5) * (words(prompts) @ COLOURS.T)).sum(1)


class Brightness:
    name, differentiable = "brightness", True

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return images.mean((1, 2, 3))


@pytest.fixture
def policy() -> Paint:
    policy = Paint(3, torch.device("cpu"), rank=8)
    pixels = COLOURS.repeat_interleave(64, 0)
    with torch.no_grad():
        policy.base.weight.copy_(torch.cat([0.6 * torch.eye(192), 0.3 * pixels], dim=1))
        policy.base.bias.zero_()
        policy.down.weight.copy_(torch.cat([torch.zeros(8, 192), torch.eye(8)], dim=1))
        policy.up.weight.copy_(0.2 * pixels)
    return policy


@pytest.fixture
def rewards() -> dict[str, object]:
    return {"colour": ColourReward(), "bright": Brightness()}


@pytest.fixture
def prompts() -> list[str]:
    return ["red", "a green thing", "blue", "grey", "red sky"]

"""A small real policy: three Gaussian steps from noise to a coloured picture, with an adapter that can be off."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from helpers.adapter_switch import AdapterSwitch
from kedge.gaussian import Gaussian
from kedge.policies.base import Conditioning

COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


class PaintPolicy(AdapterSwitch):
    """Paints the colour named in the prompt, faintly; its adapter paints it stronger."""

    def __init__(self, adapter: float = 0.0):
        self.steps, self.latent_shape = 3, (3, 8, 8)
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.adapter = torch.nn.Parameter(torch.tensor(adapter))
        self.calls = 0

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        rows = [next((c for word, c in COLOURS.items() if word in prompt), (0.5, 0.5, 0.5)) for prompt in prompts]
        return Conditioning({"colour": torch.tensor(rows)})

    def transition(self, x: Tensor, k: int, cond: Conditioning) -> Gaussian:
        self.calls += len(x)
        strength = 0.3 + (self.adapter if self._adapted else 0.0)
        target = cond.tensors["colour"][:, :, None, None] * 2 - 1
        mean = 0.6 * x + strength * target
        return Gaussian(mean, torch.tensor(0.0 if k == 1 else 0.3))

    def decode(self, x0: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(torch.sigmoid(x0), scale_factor=2)

    def trainable(self) -> list[torch.nn.Parameter]:
        return [self.adapter]


class ColourReward:
    """How much of the prompt's colour the picture has."""

    name, differentiable = "colour", True

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        self.seen.append(images)
        colours = torch.tensor([next((c for w, c in COLOURS.items() if w in p), (0.5,) * 3) for p in prompts])
        return -(images.mean((2, 3)) - colours).square().sum(1)


class Brightness:
    name, differentiable = "brightness", True

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return images.mean((1, 2, 3))


@pytest.fixture
def policy() -> PaintPolicy:
    return PaintPolicy(adapter=0.2)


@pytest.fixture
def rewards() -> dict[str, object]:
    return {"colour": ColourReward(), "bright": Brightness()}


@pytest.fixture
def prompts() -> list[str]:
    return ["red", "a green thing", "blue", "grey", "red sky"]

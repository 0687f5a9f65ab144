"""Every reward on another device than the CPU: the same scores, and the same gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.reward_sources import tiny
from helpers.tiny_rewards import pictures
from kedge.rewards import REWARDS

pytestmark = pytest.mark.gpu

PROMPTS = ["a cat", "two dogs in the snow"]
NAMES = [*REWARDS, *(f"{name}@emoji" for name, spec in REWARDS.items() if spec.in_world)]


@pytest.mark.parametrize("name", NAMES)
def test_scores_there_as_here(name: str, device: torch.device, close: Any, tmp_path: Path) -> None:
    scored = []
    for number, place in enumerate((torch.device("cpu"), device)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with tiny(name, folder, place) as reward:
            images = pictures(len(PROMPTS), 64, 64, seed=0).to(place).requires_grad_(reward.differentiable)
            scores = reward(images, PROMPTS)
            assert scores.device.type == place.type
            if reward.differentiable:
                scores.sum().backward()
                assert images.grad is not None
            scored.append((scores.detach().cpu(), images.grad.cpu() if reward.differentiable else None))
    (score, slope), (there, slope_there) = scored
    close(there, score)
    if slope is not None:
        scale = slope.abs().max()
        close(slope_there / scale, slope / scale)


def test_pictures_may_come_from_the_host(device: torch.device, tmp_path: Path) -> None:
    with tiny("pickscore", tmp_path, device) as reward:
        assert reward(pictures(len(PROMPTS), 64, 64, seed=0), PROMPTS).isfinite().all()

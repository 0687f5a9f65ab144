"""Stage: measure the two generators by the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from kedge.models import BUNDLED_GUIDANCE
from kedge.worlds.emoji.build.preview import grid, sample
from kedge.worlds.emoji.captions import activity_prompts, held_out_prompts
from kedge.worlds.emoji.oracle import Oracle

STEPS = {"emoji-diffusion": 20, "emoji-lcm": 8}
MODELS = tuple(STEPS)
PARTS = ("animal", "number", "place", "background", "clean", "activity", "total")


def measure(model: Path, name: str, prompts: list[str], *, seed: int, device: str = "cpu") -> dict[str, float]:
    """The oracle's parts, averaged over one picture for each prompt; ``right`` is the share with the right animals."""
    images = sample(model, prompts, steps=STEPS[name], omega=BUNDLED_GUIDANCE, seed=seed, device=device)
    parts = Oracle().parts(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, prompts)
    return {"right": float(parts.right.float().mean())} | {part: float(getattr(parts, part).mean()) for part in PARTS}


def measure_models(folder: Path, *, seed: int, count: int = 500, device: str = "cpu") -> dict[str, dict[str, Any]]:
    """Each model on held-out prompts and on the activities, with a grid of pictures to look at."""
    prompts = {"held out": held_out_prompts(count), "activities": activity_prompts()}
    quality = {}
    for name in MODELS:
        quality[name] = {
            key: measure(folder / name, name, texts, seed=seed, device=device) for key, texts in prompts.items()
        }
        shown = [*prompts["held out"][:40], *prompts["activities"][:8]]
        drawn = sample(folder / name, shown, steps=STEPS[name], omega=BUNDLED_GUIDANCE, seed=seed, device=device)
        grid(drawn, 12, folder / f"{name}.png")
    return quality

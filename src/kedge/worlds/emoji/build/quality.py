"""Last stage: measure what was built, and lay it among the package's assets with a card that says how good it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from kedge.models import BUNDLED_GUIDANCE
from kedge.worlds.emoji.atlas import ASSETS
from kedge.worlds.emoji.build.preview import grid, sample
from kedge.worlds.emoji.captions import activity_prompts, held_out_prompts
from kedge.worlds.emoji.oracle import Oracle

STEPS = {"emoji-diffusion": 20, "emoji-lcm": 8}
MODELS = tuple(STEPS)
JUDGES = ("clip", "pickscore", "aesthetic.pth")
PARTS = ("animal", "number", "place", "background", "clean", "activity", "total")


def measure(model: Path, name: str, prompts: list[str], *, seed: int, device: str = "cpu") -> dict[str, float]:
    """The oracle's parts, averaged over one picture for each prompt; ``right`` is the share with the right animals."""
    images = sample(model, prompts, steps=STEPS[name], omega=BUNDLED_GUIDANCE, seed=seed, device=device)
    parts = Oracle().parts(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, prompts)
    return {"right": float(parts.right.float().mean())} | {part: float(getattr(parts, part).mean()) for part in PARTS}


def measure_models(folder: Path, *, seed: int, count: int = 500, device: str = "cpu") -> dict[str, dict]:
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


def reward_scales(folder: Path, *, seed: int, count: int = 256) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each learned reward over the consistency model's pictures of training prompts."""
    from kedge.rewards import load_reward
    from kedge.worlds.emoji.captions import train_prompts

    prompts = train_prompts()[:count]
    images = sample(folder / "emoji-lcm", prompts, steps=8, omega=BUNDLED_GUIDANCE, seed=seed, device="cpu")
    pictures = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    scales = {}
    for name in ("clipscore", "pickscore", "aesthetic"):
        with torch.no_grad():
            scores = load_reward(f"{name}@emoji")(pictures, prompts)
        scales[name] = (float(scores.mean()), float(scores.std()))
    return scales


def install(folder: Path, tokenizer_folder: Path, processor: object) -> None:
    """Copy what ships into the package's assets."""
    for name in (*MODELS, *JUDGES):
        target = ASSETS / name
        if (folder / name).is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(folder / name, target)
        else:
            shutil.copy(folder / name, target)
    for judge in ("clip", "pickscore"):
        for file in tokenizer_folder.iterdir():
            shutil.copy(file, ASSETS / judge / file.name)
        processor.save_pretrained(ASSETS / judge)  # type: ignore[attr-defined]


def write_scales(scales: dict[str, tuple[float, float]]) -> None:
    """Where standardised rewards look their scale up."""
    (ASSETS / "scales.json").write_text(json.dumps(scales, indent=1) + "\n")

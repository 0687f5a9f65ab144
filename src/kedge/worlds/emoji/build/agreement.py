"""How well each shipped reward knows what the oracle knows, and how much the rewards are alike.

Measured as users load them (``NAME@emoji``), on the candidates of prompts that no judge was trained on.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from kedge.models import BUNDLED_GUIDANCE
from kedge.rewards import REWARDS, load_reward
from kedge.worlds.emoji.atlas import ASSETS
from kedge.worlds.emoji.build.pictures import Pictures
from kedge.worlds.emoji.build.preference import agreement
from kedge.worlds.emoji.build.preview import sample
from kedge.worlds.emoji.captions import train_prompts

REST = "clipscore-torchmetrics"  # 100 × clipscore: nothing new to say
CHUNK = 50  # pictures scored at a time


def world_rewards() -> list[str]:
    """The rewards that the emoji world has, in the catalogue's order."""
    return [name for name, spec in REWARDS.items() if spec.in_world and name != REST]


@torch.no_grad()
def judge(name: str, images: Tensor, prompts: list[str]) -> Tensor:
    """``NAME@emoji`` on uint8 images ``[N, 3, H, W]``; ``[N]``."""
    reward = load_reward(f"{name}@emoji")
    starts = range(0, len(prompts), CHUNK)
    return torch.cat([reward(images[i : i + CHUNK].float() / 255, prompts[i : i + CHUNK]) for i in starts])


def measure_rewards(pictures: Pictures) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Pairwise accuracy with the oracle, and the correlation of each two rewards within prompts.

    Within: every prompt's mean is taken off first, so that only the order of its candidates counts.
    """
    count, candidates = pictures.oracle.shape
    prompts = [prompt for prompt in pictures.prompts for _ in range(candidates)]
    given = {name: judge(name, pictures.images.flatten(0, 1), prompts).reshape(count, -1) for name in world_rewards()}
    accuracy = {name: agreement(scores, pictures.oracle) for name, scores in given.items()}
    table = given | {"oracle": pictures.oracle}
    centred = torch.stack([(scores - scores.mean(1, keepdim=True)).flatten() for scores in table.values()])
    matrix = centred.corrcoef().tolist()
    return accuracy, {name: dict(zip(table, row, strict=True)) for name, row in zip(table, matrix, strict=True)}


def write_scales(folder: Path, *, seed: int, count: int = 256, file: Path = ASSETS / "scales.json") -> None:
    """Mean and deviation of each reward over the consistency model's pictures: where standardised rewards look."""
    prompts = train_prompts()[:count]
    drawn = sample(folder / "emoji-lcm", prompts, steps=8, omega=BUNDLED_GUIDANCE, seed=seed, device="cpu")
    images = torch.from_numpy(drawn).permute(0, 3, 1, 2)
    scores = {name: judge(name, images, prompts) for name in (*world_rewards(), REST)}
    scales = {name: (float(given.mean()), float(given.std())) for name, given in scores.items()}
    file.write_text(json.dumps(scales, indent=1) + "\n")

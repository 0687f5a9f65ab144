"""How well each shipped reward knows what the oracle knows, and how much the rewards are alike.

Measured as users load them (``NAME@emoji``), on candidates that no judge was trained on.
"""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kedge.rewards import REWARDS, load_reward
from kedge.worlds.emoji.atlas import ASSETS
from kedge.worlds.emoji.build.pictures import Pictures, altered, repeated
from kedge.worlds.emoji.build.preference import agreement
from kedge.worlds.emoji.build.preview import sample
from kedge.worlds.emoji.build.quality import OMEGA, STEPS
from kedge.worlds.emoji.captions import parse, train_prompts
from kedge.worlds.emoji.oracle import Oracle

REST = "clipscore-torchmetrics"  # 100 × clipscore: nothing new to say
CHUNK = 50  # pictures scored at a time
SHOWN, CLEARLY = (
    0.6,
    0.1,
)  # the oracle's verdict on a picture that shows its prompt, and by how much a wrong one is worse


@dataclass(frozen=True)
class Agreement:
    """What is known of the rewards.

    Attributes:
        prompts: how many, of ten candidates each.
        accuracy: the share of pairs of candidates that a reward and the oracle put in the same order.
        prompt_accuracy: the share of pictures that score higher with their prompt than with a wrong one.
        pictures: how many pictures that is of.
        correlation: of each two rewards within prompts: every prompt's mean is taken off first.
    """

    prompts: int
    accuracy: dict[str, float]
    prompt_accuracy: dict[str, float]
    pictures: int
    correlation: dict[str, dict[str, float]]

    def as_record(self) -> dict[str, Any]:
        """For the build's log."""
        return asdict(self)


def world_rewards() -> list[str]:
    """The rewards that the emoji world has, in the catalogue's order."""
    return [name for name, spec in REWARDS.items() if spec.in_world and name != REST]


@torch.no_grad()
def judge(name: str, images: Tensor, prompts: list[str]) -> Tensor:
    """``NAME@emoji`` on uint8 images ``[N, 3, H, W]``; ``[N]``."""
    reward = load_reward(f"{name}@emoji")
    starts = range(0, len(prompts), CHUNK)
    return torch.cat([reward(images[i : i + CHUNK].float() / 255, prompts[i : i + CHUNK]) for i in starts])


def measure_rewards(pictures: Pictures, *, seed: int) -> Agreement:
    """All of the world's rewards on ``pictures``."""
    count, candidates = pictures.oracle.shape
    prompts = repeated(pictures.prompts, candidates)
    images = pictures.images.flatten(0, 1)
    shown, wrong = wrong_prompts(pictures, seed=seed)
    table: dict[str, Tensor] = {}
    accuracy, prompt_accuracy = {}, {}
    for name in world_rewards():
        scores = table[name] = judge(name, images, prompts).reshape(count, -1)
        accuracy[name] = agreement(scores, pictures.oracle)
        if REWARDS[name].needs_prompt:
            other = judge(name, images[shown], wrong)
            prompt_accuracy[name] = float((scores.flatten()[shown] > other).float().mean())
    table["oracle"] = pictures.oracle
    matrix = torch.stack([(scores - scores.mean(1, keepdim=True)).flatten() for scores in table.values()]).corrcoef()
    correlation = {}
    for name, row in zip(table, matrix.tolist(), strict=True):
        correlation[name] = dict(zip(table, row, strict=True))
    return Agreement(count, accuracy, prompt_accuracy, len(wrong), correlation)


def wrong_prompts(pictures: Pictures, *, seed: int) -> tuple[Tensor, list[str]]:
    """Candidates that show their prompt (indices ``[N]``), and another prompt for each that the oracle finds worse."""
    rng = random.Random(seed)
    candidates = pictures.oracle.shape[1]
    shown = (pictures.oracle.flatten() > SHOWN).nonzero()[:, 0]
    wrong = [str(altered(parse(pictures.prompts[i // candidates]), rng)) for i in shown.tolist()]
    verdict = Oracle()(pictures.images.flatten(0, 1)[shown].float() / 255, wrong)
    worse = verdict < pictures.oracle.flatten()[shown] - CLEARLY
    return shown[worse], list(itertools.compress(wrong, worse.tolist()))


def write_scales(folder: Path, *, seed: int, count: int = 256, file: Path = ASSETS / "scales.json") -> None:
    """Mean and deviation of each reward over the consistency model's pictures: where standardised rewards look."""
    prompts = train_prompts()[:count]
    model = "emoji-lcm"
    drawn = sample(folder / model, prompts, steps=STEPS[model], omega=OMEGA[model], seed=seed, device="cpu")
    images = torch.from_numpy(drawn).permute(0, 3, 1, 2)
    scales = {}
    for name in (*world_rewards(), REST):
        scores = judge(name, images, prompts)
        scales[name] = (float(scores.mean()), float(scores.std()))
    file.write_text(json.dumps(scales, indent=1) + "\n")

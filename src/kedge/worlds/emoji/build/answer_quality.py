"""How good the model that answers Yes or No is: on true scenes, and on a generator's pictures beside the oracle."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kedge.rewards import load_reward
from kedge.worlds.emoji.build.answering import changes
from kedge.worlds.emoji.build.pictures import repeated
from kedge.worlds.emoji.build.preview import sample
from kedge.worlds.emoji.build.quality import OMEGA, STEPS
from kedge.worlds.emoji.captions import ACTIVITIES, Spec, activity_prompts, held_out_prompts, parse
from kedge.worlds.emoji.oracle import Oracle
from kedge.worlds.emoji.scenes import compose_all, render

MODEL, SCENES, PICTURES = "emoji-lcm", 200, 4  # pictures of each activity prompt
PARTS = ("activity", "animal", "clean", "total")


@torch.no_grad()
def measure_answerer(
    folder: Path, generator: Path, *, seed: int, count: int = SCENES, times: int = PICTURES
) -> dict[str, Any]:
    """What ``vqa@FOLDER`` knows of combinations that were held out.

    Args:
        generator: the consistency model that draws the activities.
        count: true scenes.
        times: pictures of each activity prompt.

    Returns:
        Of true ``scenes`` and ``activities``: the share of ``right`` answers to the own caption and to one that differs
        in one thing, half each, and the share of pairs that are ``ordered`` rightly. And ``correlation``: of the
        log-odds with parts of the oracle's verdict, within each activity prompt's pictures.
    """
    ask, rng = load_reward(f'vqa@"{folder}"'), random.Random(seed)
    scenes = [parse(prompt) for prompt in held_out_prompts(count)]
    acting = [parse(prompt) for prompt in activity_prompts(held_out=True)]
    others = [rng.choice(changes(spec, rng)) for spec in scenes]
    idle = [replace(spec, activity=_other_activity(spec, rng)) for spec in acting]
    quality = {}
    for name, specs, wrong in (("scenes", scenes, others), ("activities", acting, idle)):
        images = render(compose_all(specs, rng))
        true, false = ask(images, list(map(str, specs))), ask(images, list(map(str, wrong)))
        right = torch.cat([true > 0, false < 0]).float().mean()
        quality[name] = {"right": float(right), "ordered": float((true > false).float().mean())}
    prompts = repeated([str(spec) for spec in acting], times)
    drawn = sample(generator, prompts, steps=STEPS[MODEL], omega=OMEGA[MODEL], seed=seed, device="cpu")
    images = torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255
    return {**quality, "correlation": _correlations(ask(images, prompts), images, prompts, times)}


def _correlations(scores: Tensor, images: Tensor, prompts: list[str], times: int) -> dict[str, float]:
    """With each part of the oracle's verdict; every prompt's mean is taken off first."""
    parts = Oracle().parts(images, prompts)
    return {name: _within(scores, getattr(parts, name), times) for name in PARTS}


def _within(one: Tensor, other: Tensor, times: int) -> float:
    rows = [values.reshape(-1, times) for values in (one, other)]
    pair = torch.stack([(values - values.mean(1, keepdim=True)).flatten() for values in rows])
    return float(pair.corrcoef()[0, 1])


def _other_activity(spec: Spec, rng: random.Random) -> str:
    return rng.choice([activity for activity in ACTIVITIES if activity != spec.activity])

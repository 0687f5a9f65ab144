"""Stage: measure the autoencoder and the two generators by the oracle."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from kedge.models import BUNDLED
from kedge.worlds.emoji.build.preview import grid, sample
from kedge.worlds.emoji.captions import activity_prompts, held_out_prompts, parse, sample_training_spec
from kedge.worlds.emoji.oracle import Oracle, OracleParts
from kedge.worlds.emoji.scenes import compose_all, render

STEPS = {"emoji-diffusion": 20, "emoji-lcm": 4, "emoji-flow": 4}
OMEGA = {"emoji-diffusion": BUNDLED["emoji-diffusion"], "emoji-lcm": BUNDLED["emoji-lcm"], "emoji-flow": 0.0}
OTHER_STEPS = (1, 2, 8)  # of the consistency model, besides its 4
FLOW_STEPS = (1, 2, 8)  # of the flow model, besides its 4
OMEGAS = (0.0, 1.0, 2.0, 3.0, 4.0)
PARTS = ("animal", "number", "place", "background", "clean", "activity", "total")
DRAWN = 0.5  # the oracle's activity part from which an activity counts as drawn


def average(parts: OracleParts) -> dict[str, float]:
    """Each part's mean; ``right`` is the share with the right animals, ``acting`` that with the activity drawn."""
    means = {part: float(getattr(parts, part).mean()) for part in PARTS}
    acting = (parts.activity >= DRAWN).float().mean()
    return {"right": float(parts.right.float().mean()), "acting": float(acting)} | means


def measure(
    model: Path, prompts: list[str], *, steps: int, omega: float, seed: int, device: str = "cpu"
) -> dict[str, float]:
    """The oracle's parts of one picture for each prompt (see :func:`average`)."""
    images = sample(model, prompts, steps=steps, omega=omega, seed=seed, device=device)
    return average(Oracle().parts(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, prompts))


@torch.no_grad()
def reconstructed(vae: AutoencoderKL, images: Tensor, batch: int = 128) -> Tensor:
    """Pictures ``[N, 3, 32, 32]`` in [0, 1] through encoder (its mean) and decoder."""
    drawn = [vae.decode(vae.encode(part * 2 - 1).latent_dist.mean).sample for part in images.split(batch)]
    return (torch.cat(drawn) / 2 + 0.5).clamp(0, 1)


def measure_autoencoder(vae: AutoencoderKL, *, seed: int, count: int = 500) -> dict[str, dict[str, float]]:
    """``count`` true scenes, and one of each activity prompt: error on [0, 1] and the oracle's parts of both."""
    rng = random.Random(seed)
    kinds = {
        "scenes": [sample_training_spec(rng) for _ in range(count)],
        "activities": list(map(parse, activity_prompts())),
    }
    quality = {}
    for name, specs in kinds.items():
        images = render(compose_all(specs, rng))
        drawn, prompts = reconstructed(vae, images), list(map(str, specs))
        parts = average(Oracle().parts(drawn, prompts))
        truth = average(Oracle().parts(images, prompts))
        error = float((drawn - images).square().mean())
        quality[name] = {"squared_error": error} | parts | {f"true_{part}": truth[part] for part in PARTS}
    return quality


def show_autoencoder(vae: AutoencoderKL, file: Path, *, seed: int, columns: int = 12) -> None:
    """Originals above reconstructions: a row of scenes, then one of each activity in turn."""
    rng = random.Random(seed)
    active = list(map(parse, activity_prompts()))
    scenes = [sample_training_spec(rng) for _ in range(columns)]
    rows = []
    for specs in (scenes, rng.sample(active, columns)):
        images = render(compose_all(specs, rng))
        rows += [images, reconstructed(vae, images)]
    pictures = (torch.cat(rows) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    grid(pictures, columns, file)


def measure_models(folder: Path, *, seed: int, count: int = 500, device: str = "cpu") -> dict[str, dict[str, Any]]:
    """Each model on held-out prompts and on the activities, with a grid of pictures to look at."""
    prompts = {"held out": held_out_prompts(count), "activities": activity_prompts()}
    quality: dict[str, dict[str, Any]] = {}
    for name in STEPS:
        if not (folder / name).is_dir():
            continue
        quality[name] = {}
        for kind, texts in prompts.items():
            quality[name][kind] = measure(
                folder / name, texts, steps=STEPS[name], omega=OMEGA[name], seed=seed, device=device
            )
        shown = [*prompts["held out"][:40], *prompts["activities"][:8]]
        drawn = sample(folder / name, shown, steps=STEPS[name], omega=OMEGA[name], seed=seed, device=device)
        grid(drawn, 12, folder / f"{name}.png")
    return quality


def measure_settings(folder: Path, *, seed: int, device: str = "cpu") -> list[dict[str, Any]]:
    """The consistency model at other numbers of steps, and at every ω."""
    settings = [(steps, OMEGA["emoji-lcm"]) for steps in OTHER_STEPS]
    settings += [(STEPS["emoji-lcm"], omega) for omega in OMEGAS]
    return _measure_each(folder / "emoji-lcm", settings, seed=seed, device=device)


def measure_flow_steps(folder: Path, *, seed: int, device: str = "cpu") -> list[dict[str, Any]]:
    """The flow model at other numbers of steps."""
    settings = [(steps, OMEGA["emoji-flow"]) for steps in FLOW_STEPS]
    return _measure_each(folder / "emoji-flow", settings, seed=seed, device=device)


def _measure_each(
    model: Path, settings: list[tuple[int, float]], *, seed: int, device: str, count: int = 200
) -> list[dict[str, Any]]:
    """At each number of steps and ω, on held-out prompts and on the activities."""
    records = []
    for steps, omega in settings:
        record: dict[str, Any] = {"steps": steps, "omega": omega}
        for kind, texts in (("held out", held_out_prompts(count)), ("activities", activity_prompts())):
            record[kind] = measure(model, texts, steps=steps, omega=omega, seed=seed, device=device)
        records.append(record)
    return records

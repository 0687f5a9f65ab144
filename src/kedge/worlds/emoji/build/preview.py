"""Pictures of a build, by plain diffusers pipelines: a grid to look at and samples to score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from kedge.worlds.emoji.build.loop import autocast
from kedge.worlds.emoji.scenes import SIDE


def sample(
    model: str | Path, prompts: list[str], *, steps: int, omega: float, seed: int, device: str, batch: int = 256
) -> np.ndarray:
    """uint8 pictures ``[N, 32, 32, 3]`` of a folder that diffusers opens."""
    pipeline = DiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32).to(device)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator(device).manual_seed(seed)
    pictures = []
    for start in range(0, len(prompts), batch):
        with autocast(torch.device(device)):
            images = pipeline(
                prompts[start : start + batch],
                height=SIDE,
                width=SIDE,
                num_inference_steps=steps,
                guidance_scale=omega + 1,
                generator=generator,
                output_type="np",
            ).images
        pictures.append((images * 255).round().astype(np.uint8))
    return np.concatenate(pictures)


def grid(pictures: np.ndarray, columns: int, path: Path, scale: int = 3) -> None:
    """Lay pictures out in rows and save them enlarged."""
    rows = len(pictures) // columns
    side = pictures.shape[1]
    sheet = pictures[: rows * columns].reshape(rows, columns, side, side, 3).swapaxes(1, 2)
    sheet = sheet.reshape(rows * side, columns * side, 3)
    Image.fromarray(sheet).resize((columns * side * scale, rows * side * scale), Image.Resampling.NEAREST).save(path)

"""Pictures of the emoji world whose quality is known: true renders with more or less noise on them."""

from __future__ import annotations

import numpy as np
import torch

from kedge.pixels import to_uint8
from kedge.worlds.emoji.scenes import render_prompt


def render(prompts: list[str], noise: float, seed: int = 0) -> np.ndarray:
    """True pictures with pixel noise on them."""
    pictures = torch.stack([render_prompt(prompt, seed) for prompt in prompts])
    generator = torch.Generator().manual_seed(seed)
    return to_uint8((pictures + noise * torch.randn(pictures.shape, generator=generator)).clamp(0, 1)).numpy()

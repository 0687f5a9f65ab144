"""Fit the constants of ``kedge.rewards.jpeg_rate`` to true JPEG sizes, and say how well they do.

    python bench/fit_jpeg_rate.py

Least squares on the relative error, over synthetic scenes (soft discs on gradients, some with film grain) and
photograph-like noise (spectra 1/f^β, faint to strong), from 32² to 512².
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kedge.rewards import jpeg_rate
from kedge.rewards.jpeg import jpeg_sizes

SIDES = (32, 64, 128, 256, 512)
NAMES = ("MAGNITUDE", "PRESENCE", "STEP", "BLOCK", "HEADER")


def scenes(side: int, count: int = 28, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    down, across = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    pictures = []
    for k in range(count):
        image = torch.rand(1, 3, 1, 1, generator=generator) * (0.6 + 0.4 * down)
        for _ in range(2 * (k % 7)):
            x, y, size = torch.rand(3, generator=generator)
            edge = ((across - x) ** 2 + (down - y) ** 2).sqrt() - (0.2 * size + 0.03)
            inside = torch.sigmoid(-2 * side * edge)
            colour = torch.rand(1, 3, 1, 1, generator=generator) * (0.7 + 0.3 * across)
            image = image * (1 - inside) + colour * inside
        if k % 3 == 0:
            image = (image + 0.02 * torch.randn(1, 1, side, side, generator=generator)).clamp(0, 1)
        pictures.append((image * 255).round() / 255)
    return torch.cat(pictures)


def photographs(side: int) -> Tensor:
    batches = []
    for beta in (0.0, 0.5, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0):
        generator = torch.Generator().manual_seed(int(10 * beta))
        frequency = torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None] ** 2
        frequency[0, 0] = 1
        noise = torch.randn(2, 3, side, side, generator=generator)
        shape = torch.fft.irfft2(torch.fft.rfft2(noise + 2 * noise[:, :1]) * frequency ** (-beta / 2), s=(side, side))
        shape = shape / shape.std(dim=(1, 2, 3), keepdim=True)
        batches += [(0.5 + contrast * shape).clamp(0, 1) for contrast in (0.2, 0.06, 0.02)]
    return torch.cat(batches)


def parts(images: Tensor) -> np.ndarray:
    """The estimate's five terms, each with its constant set to 1 and the others to 0; ``[B, 5]``."""
    columns = []
    for name in NAMES:
        for other in NAMES:
            setattr(jpeg_rate, other, float(other == name))
        columns.append(jpeg_rate.jpeg_rate(images).double().numpy())
    return np.stack(columns, 1)


def main() -> None:
    groups = {f"{draw.__name__} {side}": draw(side) for side in SIDES for draw in (scenes, photographs)}
    terms = {name: parts(images) for name, images in groups.items()}
    sizes = {name: jpeg_sizes(images).double().numpy() for name, images in groups.items()}
    every, truth = np.concatenate(list(terms.values())), np.concatenate(list(sizes.values()))
    weight = 1 / (truth + 0.3)
    constants = np.linalg.lstsq(every * weight[:, None], truth * weight)[0]
    for name, value in zip(NAMES, constants, strict=True):
        print(f"{name:10} {value:.3f}")
    for name, true in sizes.items():
        estimate = terms[name] @ constants
        correlation = np.corrcoef(estimate, true)[0, 1]
        print(f"{name:16} correlation {correlation:.4f}, mean error {np.mean(abs(estimate - true) / true):.1%}")


if __name__ == "__main__":
    main()

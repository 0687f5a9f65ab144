"""JPEG size and its smooth estimate."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from kedge.rewards import load_reward
from kedge.rewards.jpeg import jpeg_sizes
from kedge.rewards.jpeg_rate import jpeg_rate


def photographs(side: int, seed: int) -> torch.Tensor:
    """Noise with the spectrum of photographs (1/f^β), smooth to rough, some of it faint."""
    generator = torch.Generator().manual_seed(seed)
    frequency = torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None] ** 2
    frequency[0, 0] = 1
    batches = []
    for beta in (0.0, 0.5, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0):
        for contrast in (0.2, 0.08):
            noise = torch.randn(1, 3, side, side, generator=generator)
            spectrum = torch.fft.rfft2(noise + 2 * noise[:, :1]) * frequency ** (-beta / 2)
            shape = torch.fft.irfft2(spectrum, s=(side, side))
            batches.append((0.5 + contrast * shape / shape.std()).clamp(0, 1))
    return torch.cat(batches)


def scenes(side: int, seed: int) -> torch.Tensor:
    """Soft-edged discs on a gradient, as clip art has them."""
    generator = torch.Generator().manual_seed(seed)
    down, across = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    pictures = []
    for count in range(16):
        image = torch.rand(1, 3, 1, 1, generator=generator) * (0.6 + 0.4 * down)
        for _ in range(count):
            x, y, size = torch.rand(3, generator=generator)
            edge = ((across - x) ** 2 + (down - y) ** 2).sqrt() - (0.2 * size + 0.03)
            inside = torch.sigmoid(-2 * side * edge)
            colour = torch.rand(1, 3, 1, 1, generator=generator) * (0.7 + 0.3 * across)
            image = image * (1 - inside) + colour * inside
        pictures.append((image * 255).round() / 255)
    return torch.cat(pictures)


def test_size_is_that_of_the_file():
    x = photographs(64, 0)[:2]
    for picture, size in zip(x, jpeg_sizes(x).tolist(), strict=True):
        pixels = (picture * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
        assert size == pytest.approx(buffer.tell() / 1000)


def test_size_of_known_pictures():
    """Within 2 %, for other libjpegs: flat grey and white noise at 512 × 512."""
    grey = torch.full((1, 3, 512, 512), 0.5)
    noise = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    assert jpeg_sizes(grey).item() == pytest.approx(4.72, rel=0.02)
    assert jpeg_sizes(noise).item() == pytest.approx(307.5, rel=0.02)


@pytest.mark.parametrize("side", [32, 64, 256])
@pytest.mark.parametrize("draw", [photographs, scenes])
def test_estimate_follows_the_true_size(draw, side):
    x = draw(side, 5)
    true, estimate = jpeg_sizes(x), jpeg_rate(x)
    assert np.corrcoef(true, estimate)[0, 1] > 0.99
    assert ((estimate - true).abs() / true).mean() < 0.1


def test_estimate_follows_across_sizes():
    true = torch.cat([jpeg_sizes(photographs(side, 6)) for side in (32, 64, 128)])
    estimate = torch.cat([jpeg_rate(photographs(side, 6)) for side in (32, 64, 128)])
    assert np.corrcoef(true, estimate)[0, 1] > 0.99


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (17, 33)])
def test_estimate_takes_any_size(size):
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    assert ((jpeg_rate(x) - jpeg_sizes(x)).abs() < 0.15 * jpeg_sizes(x)).all()


@pytest.mark.parametrize(("name", "sign"), [("compressibility", -1), ("incompressibility", 1)])
def test_following_the_estimate_changes_the_true_size(name, sign):
    proxy, true = load_reward(f"{name}_proxy"), load_reward(name)
    x = photographs(64, 7)[4:6]
    begin = true(x, ["", ""])
    for _ in range(20):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(proxy(x, ["", ""]).sum(), x)
        x = (x + 0.01 * gradient.sign()).clamp(0, 1)
    assert (true(x, ["", ""]) > begin + 0.1 * begin.abs()).all()
    assert (true(x, ["", ""]).sign() == sign).all()

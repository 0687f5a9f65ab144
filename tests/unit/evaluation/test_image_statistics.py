from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy import stats as scipy_stats

from kedge.evaluation.image_statistics import image_statistics


def noise(seed: int = 0, n: int = 2, size: int = 16) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def flat(r: float, g: float, b: float) -> torch.Tensor:
    return torch.tensor([r, g, b])[None, :, None, None].expand(1, 3, 12, 12)


def only(images: torch.Tensor) -> dict[str, float]:
    return {name: float(values[0]) for name, values in image_statistics(images).items()}


def test_flat_colours_have_closed_forms() -> None:
    black, white, pink = only(flat(0, 0, 0)), only(flat(1, 1, 1)), only(flat(1, 0.5, 0.75))
    assert (black["dark_fraction"], white["dark_fraction"]) == (1, 0)
    assert (black["brightness"], white["brightness"]) == pytest.approx((0, 1), abs=1e-6)
    assert (black["saturation"], white["saturation"], pink["saturation"]) == (0, 0, 0.5)
    for image in (black, white, pink):
        assert image["edge_density"] == image["colour_entropy"] == 0


def test_half_and_half() -> None:
    image = flat(0, 0, 0).clone()
    image[..., 6:] = 1
    values = only(image)
    assert values["colour_entropy"] == pytest.approx(1)
    assert values["edge_density"] == pytest.approx(2 / 12)  # the column on either side of the edge
    assert values["dark_fraction"] == 0.5


def test_against_independent_implementations() -> None:
    images = noise()
    values = image_statistics(images)
    for i, image in enumerate(images.numpy()):
        grey = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        edges = np.hypot(ndimage.sobel(grey, 0, mode="nearest"), ndimage.sobel(grey, 1, mode="nearest")) / 8
        assert float(values["edge_density"][i]) == pytest.approx((edges > 0.1).mean())
        pixels = image.reshape(3, -1).T
        saturation = np.mean([colorsys.rgb_to_hsv(*pixel)[1] for pixel in pixels])
        assert float(values["saturation"][i]) == pytest.approx(saturation, abs=1e-5)
        _, counts = np.unique((pixels * 8).astype(int), axis=0, return_counts=True)
        assert float(values["colour_entropy"][i]) == pytest.approx(scipy_stats.entropy(counts, base=2), abs=1e-5)


@given(seed=st.integers(0, 50))
def test_mirroring_and_batching_change_nothing(seed: int) -> None:
    images = noise(seed, n=3)
    together, mirrored = image_statistics(images), image_statistics(images.flip(-1))
    alone = image_statistics(images[1:2])
    for name, values in together.items():
        assert values.shape == (3,)
        assert torch.allclose(values, mirrored[name], atol=1e-5), name
        assert torch.allclose(values[1:2], alone[name], atol=1e-6), name


def test_blur_lowers_edges_and_colour_entropy() -> None:
    sharp = noise()
    blurred = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1)
    for name in ("edge_density", "colour_entropy"):
        assert (image_statistics(blurred)[name] < image_statistics(sharp)[name]).all()

"""Values that the authors published, for machines that have the weights: ``pytest -m weights``.

The pictures come from the authors' repositories; point ``KEDGE_PUBLISHED_PICTURES`` to a folder that holds HPSv2's
``demo_image.jpg`` and ImageReward's ``1.webp`` … ``4.webp``.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kedge.rewards import MissingWeightsError, load_reward

pytestmark = pytest.mark.weights


def score(name: str, pictures: list[str], prompt: str) -> list[float]:
    folder = Path(os.environ.get("KEDGE_PUBLISHED_PICTURES", "published_pictures"))
    if not all((folder / picture).is_file() for picture in pictures):
        pytest.skip(f"needs {', '.join(pictures)} in {folder} (KEDGE_PUBLISHED_PICTURES)")
    try:
        reward = load_reward(name)
    except MissingWeightsError as error:
        pytest.skip(str(error))
    rows = []
    for picture in pictures:
        pixels = torch.from_numpy(np.array(Image.open(folder / picture).convert("RGB"))).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            rows.append(reward(pixels, [prompt]).item())
    return rows


def test_hpsv2_of_its_demo_picture():
    """HPSv2's issue 27: 0.2876, computed in half precision and with the torchvision of 2023."""
    assert score("hpsv2", ["demo_image.jpg"], "A cat with two horns on its head") == pytest.approx([0.2876], abs=5e-3)


def test_image_reward_of_its_readme():
    prompt = "a painting of an ocean with clouds and birds, day time, low depth field effect"
    pictures = [f"{i}.webp" for i in range(1, 5)]
    expected = [0.5811622738838196, 0.2745276093482971, -1.4131819009780884, -2.029569625854492]
    assert score("imagereward", pictures, prompt) == pytest.approx(expected, abs=1e-2)

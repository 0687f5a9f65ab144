"""Pictures become the very patches that transformers' own processor makes, and a gradient comes back."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from helpers import tiny_qwen
from helpers.tiny_rewards import pictures
from kedge.pixels import to_uint8
from kedge.rewards.patches import PatchPreprocess, read_patch_preprocess

SIZES = [(64, 64), (97, 301), (33, 20), (300, 200), (20, 400)]
BOUNDS = [(14, 3136, 12544), (16, 65536, 16777216), (14, 200704, 200704)]


def folder_with(tmp_path, **settings):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    return tmp_path


@pytest.mark.parametrize(("patch", "smallest", "largest"), BOUNDS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_patches_are_the_processors(tmp_path, patch, smallest, largest, height, width):
    tiny_qwen.write_processor(tmp_path, patch, smallest, largest)
    processor, preprocess = AutoImageProcessor.from_pretrained(tmp_path), read_patch_preprocess(tmp_path)
    images = to_uint8(pictures(2, height, width))
    expected = processor([Image.fromarray(image) for image in images.numpy()], return_tensors="pt")
    patches = preprocess(images.permute(0, 3, 1, 2) / 255)
    torch.testing.assert_close(patches.flatten(0, 1), expected["pixel_values"], rtol=0, atol=1e-6)
    assert preprocess.grid(height, width).expand(2, -1).tolist() == expected["image_grid_thw"].tolist()
    assert preprocess.tokens(height, width) * 4 == patches.shape[1]


def test_the_nested_config_of_transformers_5_is_read(tmp_path):
    tiny_qwen.write_processor(tmp_path, 16, 1024, 4096)
    plain = tmp_path / "preprocessor_config.json"
    nested = {"image_processor": json.loads(plain.read_text()), "processor_class": "Qwen3VLProcessor"}
    expected = read_patch_preprocess(tmp_path)
    plain.unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert read_patch_preprocess(tmp_path) == expected


def test_another_kind_of_processor_is_refused(tmp_path):
    folder = folder_with(tmp_path, image_processor_type="CLIPImageProcessor")
    with pytest.raises(ValueError, match=r"CLIPImageProcessor.*Qwen2-VL"):
        read_patch_preprocess(folder)


def test_another_resampling_is_refused(tmp_path):
    folder = folder_with(tmp_path, image_processor_type="Qwen2VLImageProcessor", resample=2)
    with pytest.raises(ValueError, match="not bicubic"):
        read_patch_preprocess(folder)


def test_a_picture_like_a_thread_is_refused():
    with pytest.raises(ValueError, match="3 × 1000 pixels"):
        PatchPreprocess().size(3, 1000)


def test_every_pixel_passes_its_gradient_on():
    images = (pictures(1, 60, 90) * 0.5 + 0.25).requires_grad_()
    PatchPreprocess(smallest=56 * 84, largest=56 * 84)(images).square().sum().backward()
    assert (images.grad.abs() > 0).all()

"""Pixels: equal to Pillow and to transformers' own processor, and differentiable."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL import __version__ as pillow_version
from torch import Tensor
from transformers import CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from helpers.tiny_rewards import SIZE, pictures, write_clip
from kedge.rewards import load_reward
from kedge.rewards.clip import FrozenCLIP, load_clip
from kedge.rewards.pil_resize import resize_like_pil
from kedge.rewards.preprocess import CropPreprocess, PadPreprocess, check_batch, read_preprocess

side = st.integers(5, 90)
PILLOW = int(pillow_version.split(".")[0])


def eight_bit(height: int, width: int, seed: int = 0) -> np.ndarray:
    return (pictures(1, height, width, seed)[0].permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)


def as_tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255


@settings(max_examples=40, deadline=None)
@given(side, side, side, side, st.integers(0, 10**6))
def test_resize_is_pillows_bit_for_bit(height, width, new_height, new_width, seed):
    assume(PILLOW >= 13 or height <= 2 * width)  # the order of the two passes changed for tall pictures
    stream = np.random.default_rng(seed)
    pixels = stream.integers(0, 256, (height, width, 3)).astype(np.uint8)
    pixels[: height // 2, : width // 2] = 255
    expected = np.asarray(Image.fromarray(pixels).resize((new_width, new_height), Image.Resampling.BICUBIC))
    actual = resize_like_pil(as_tensor(pixels), new_height, new_width)[0].permute(1, 2, 0) * 255
    assert np.array_equal(actual.round().numpy().astype(np.uint8), expected)


@pytest.mark.parametrize("size", [(512, 512), (768, 512), (480, 720)])
def test_resize_is_pillows_at_real_sizes(size):
    pixels = eight_bit(*size)
    expected = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BICUBIC))
    actual = resize_like_pil(as_tensor(pixels), 224, 224)[0].permute(1, 2, 0) * 255
    assert np.array_equal(actual.round().numpy().astype(np.uint8), expected)


def test_gradient_passes_the_rounding():
    x = pictures(1, 40, 60).requires_grad_()
    (rounded,) = torch.autograd.grad(resize_like_pil(x, 20, 30).square().sum(), x)
    (smooth,) = torch.autograd.grad(resize_like_pil(x, 20, 30, quantize=False).square().sum(), x)
    assert F.cosine_similarity(rounded.flatten(), smooth.flatten(), dim=0) > 0.9999


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (97, 64), (51, 83), (20, 20)])
def test_preprocess_is_transformers_own(size, tmp_path):
    """Odd crops included."""
    processor = {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}}
    pixels = eight_bit(*size)
    expected = CLIPImageProcessorPil(**processor)(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    actual = read_preprocess(write_clip(tmp_path), SIZE)(as_tensor(pixels))
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def test_torchvision_and_transformers_crop_differently():
    x = pictures(1, 32, 39)  # 7 columns to cut: at 3 or at 4
    floor, nearest = CropPreprocess(32, offset="floor")(x), CropPreprocess(32, offset="round")(x)
    torch.testing.assert_close(floor[..., 1:], nearest[..., :-1])


def test_hps_pads_instead_of_cropping():
    mean, std = (0.0,) * 3, (1.0,) * 3
    wide = PadPreprocess(32, mean, std)(torch.ones(1, 3, 20, 40))
    assert wide.shape == (1, 3, 32, 32)
    assert wide[:, :, :8].eq(0).all()
    assert wide[:, :, -8:].eq(0).all()
    torch.testing.assert_close(wide[:, :, 8:-8], torch.ones(1, 3, 16, 32), rtol=0, atol=1e-5)


def test_pickscore_is_its_model_card(tmp_path):
    """PickScore's reference is transformers itself: processor, model, and exp(logit scale) times the cosine."""
    reward = load_reward(f"pickscore@{write_clip(tmp_path)}")
    model = CLIPModel.from_pretrained(tmp_path).eval()
    processor = CLIPImageProcessorPil.from_pretrained(tmp_path)
    for size in ((64, 64), (64, 96), (51, 83)):
        pixels = eight_bit(*size)
        for prompt in ("a cat", "two dogs & a fox", "", "a " * 60):
            ids = reward.clip.tokenize(prompt)
            with torch.no_grad():
                image = model.get_image_features(
                    processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
                )
                text = model.get_text_features(ids)
                cosine = F.cosine_similarity(image.pooler_output, text.pooler_output).item()
            expected = model.logit_scale.exp().item() * cosine
            assert reward(as_tensor(pixels), [prompt]).item() == pytest.approx(expected, abs=1e-4)


def test_processor_of_another_size_is_refused(tmp_path):
    folder = write_clip(tmp_path)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"shortest_edge": 99}, "resample": 3}))
    with pytest.raises(ValueError, match=r"wants size .*99.* this network reads 32 × 32"):
        load_reward(f"pickscore@{folder}")
    (folder / "preprocessor_config.json").write_text(json.dumps({"resample": 2}))
    with pytest.raises(ValueError, match="resampling 2"):
        load_reward(f"pickscore@{folder}")


def test_processor_of_transformers_5_is_read(tmp_path):
    folder = write_clip(tmp_path)
    flat = json.loads((folder / "preprocessor_config.json").read_text())
    nested = {"image_processor": {**flat, "image_mean": [0.1, 0.2, 0.3]}}
    (folder / "processor_config.json").write_text(json.dumps(nested))
    assert read_preprocess(folder, SIZE).mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(3, 8, 8), r"\[B, 3, H, W\], not \[3, 8, 8\]"),
        (torch.zeros(1, 8, 8, 3), r"not \[1, 8, 8, 3\]"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "divide 8-bit images by 255"),
        (torch.zeros(2, 3, 8, 8), "2 images for 1 prompts"),
    ],
)
def test_wrong_images_are_named(images, says):
    with pytest.raises(ValueError, match=says):
        check_batch(images, ["a cat"])


def test_half_precision_images_are_scored_in_float32(tmp_path):
    reward = load_reward(f"pickscore@{write_clip(tmp_path)}")
    scores = reward(pictures(1, 40, 40).bfloat16(), ["a cat"])
    assert scores.dtype == torch.float32


def test_text_features_are_computed_once(tmp_path):
    clip = load_clip(write_clip(tmp_path), "cpu", "openai")
    assert isinstance(clip, FrozenCLIP)
    calls = []
    encode = clip._encode_text
    clip.text_features._encode = lambda prompt: (calls.append(prompt), encode(prompt))[1]
    x = pictures(3, 40, 40)
    first = clip.cosine(x, ["a cat", "a dog", "a cat"])
    again = clip.cosine(x, ["a cat", "a dog", "a cat"])
    assert calls == ["a cat", "a dog"]
    assert torch.equal(first, again)


def test_text_cache_forgets_the_oldest():
    from kedge.rewards.texts import TextCache

    calls = []
    cache = TextCache(lambda prompt: (calls.append(prompt), torch.ones(1, 2))[1], capacity=2)
    cache(["a", "b"])
    cache(["a", "c"])  # b is the oldest now
    cache(["a", "c"])
    cache(["b"])
    assert calls == ["a", "b", "c", "b"]

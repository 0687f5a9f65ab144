"""What diversity is measured by: the shipped encoder sees what can collapse, DINOv2 loads as published."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

from kedge.evaluation import encoders
from kedge.evaluation.diversity import BETWEEN, WITHIN, diversities
from kedge.evaluation.encoders import Encoder, choose_encoder, dinov2_pixels, load_encoder
from kedge.registry import UnknownNameError
from kedge.rewards import MissingWeightsError
from kedge.rewards.sources import world_assets
from kedge.rewards.weights import WrongWeightsError
from kedge.worlds.emoji.captions import ACTIVITIES, ANIMAL_NAMES, BACKGROUNDS, POSITIONS, Spec
from kedge.worlds.emoji.scenes import compose, render

PINK = "on a pink background"


@pytest.fixture(scope="module")
def emoji() -> Encoder:
    return load_encoder("emoji")


def scenes(count: int, choose: Callable[[random.Random], Spec], seed: int = 0) -> Tensor:
    rng = random.Random(seed)
    return render([compose(choose(rng), rng) for _ in range(count)])


def spread(encoder: Encoder, count: int, choose: Callable[[random.Random], Spec]) -> float:
    """The mean distance between true scenes."""
    features = encoder(scenes(count, choose)).numpy()
    return float(diversities(features, [str(i) for i in range(count)])[BETWEEN].mean())


def anything(rng: random.Random) -> Spec:
    return Spec(
        (rng.choice(ANIMAL_NAMES),), position=rng.choice((None, *POSITIONS)), background=rng.choice(BACKGROUNDS)
    )


@pytest.mark.parametrize(
    ("choose", "most"),
    [
        (lambda rng: Spec(anything(rng).animals, background="at night"), 0.8),
        (lambda rng: Spec(anything(rng).animals, background=PINK), 0.7),
        (lambda rng: Spec(("cat",), background=rng.choice(BACKGROUNDS)), 0.8),
    ],
    ids=["one scenery for all", "all backgrounds pink", "one animal for all"],
)
def test_true_scenes_that_lose_backgrounds_or_species_lose_diversity(emoji: Encoder, choose, most):
    assert spread(emoji, 80, choose) < most * spread(emoji, 80, anything)


def test_it_sees_backgrounds_turn_pink_or_yellow_within_a_prompt(emoji: Encoder):
    """What a prompt leaves free is what collapses first: the demo's backgrounds."""

    def one(rng: random.Random) -> Spec:
        return Spec(("fox",), activity="riding a bike", background=rng.choice(BACKGROUNDS))

    def collapsed(rng: random.Random) -> Spec:
        return Spec(("fox",), activity="riding a bike", background=rng.choice((PINK, "on a yellow background")))

    def within(choose: Callable[[random.Random], Spec]) -> float:
        return float(diversities(emoji(scenes(24, choose)).numpy(), ["fox"] * 24)[WITHIN].mean())

    assert within(collapsed) < 0.5 * within(one)


@pytest.mark.parametrize("varied", [POSITIONS, ACTIVITIES], ids=["position", "activity"])
def test_it_sees_where_the_animal_is_and_what_it_does(emoji: Encoder, varied):
    """More than the pixel of jitter that every true scene has."""
    kind = "position" if varied == POSITIONS else "activity"

    def at(choice: str | None) -> Spec:
        return Spec(("fox",), background="in the snow", **{kind: choice})

    still = spread(emoji, 24, lambda rng: at(None))
    moving = spread(emoji, 24, lambda rng: at(rng.choice((None, *varied))))
    assert moving > 2.5 * still


def test_features_are_unit_vectors_whatever_the_batch(emoji: Encoder):
    images = scenes(6, anything)
    together = emoji(images)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(6))
    torch.testing.assert_close(together, torch.cat([emoji(image[None]) for image in images]), atol=2e-6, rtol=0)
    assert together.dtype == torch.float32


def save_dinov2(folder: Path, width: int, layers: int, heads: int) -> Path:
    """DINOv2's architecture with random weights and its published image processor."""
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, image_size=518, patch_size=14
    )
    Dinov2Model(config).save_pretrained(folder)
    BitImageProcessorPil(
        size={"shortest_edge": 256},
        crop_size={"height": 224, "width": 224},
        resample=3,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dinov2(tmp_path_factory.mktemp("dinov2"), 32, 2, 2)


def photograph(height: int, width: int) -> Tensor:
    """8-bit levels, smooth and sharp, ``[1, 3, H, W]``."""
    rng = np.random.default_rng(0)
    levels = np.kron(rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)), np.ones((8, 8, 1)))[:height, :width]
    return torch.from_numpy(levels.astype(np.uint8)).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize(("height", "width"), [(512, 512), (384, 640), (300, 256)])
def test_dinov2_reads_the_pixels_of_its_published_processor(small: Path, height: int, width: int):
    images = photograph(height, width)
    picture = Image.fromarray((images[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
    theirs = BitImageProcessorPil.from_pretrained(small)(picture, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(dinov2_pixels(images), theirs, atol=2e-6, rtol=0)


def test_dinov2_features_are_those_of_its_states(small: Path):
    images = torch.cat([photograph(256, 256), photograph(256, 256).flip(-1)])
    features = load_encoder(f"dinov2@{small}")(images)
    with torch.no_grad():
        states = Dinov2Model.from_pretrained(small).eval()(dinov2_pixels(images)).last_hidden_state
    cls = torch.nn.functional.normalize(states[:, 0], dim=-1)
    grid = states[:, 1:].reshape(2, 2, 8, 2, 8, 32)  # batch, quarter down, patch, quarter across, patch, width
    quarters = torch.nn.functional.normalize(grid.mean((2, 4)).permute(0, 3, 1, 2).flatten(1), dim=-1)
    torch.testing.assert_close(features, torch.cat([cls, quarters], 1) / 2**0.5, atol=2e-6, rtol=0)


def test_dinov2_at_its_true_architecture(tmp_path: Path):
    """ViT-S/14, the smallest that is published: 22 M weights in the published layout, at random."""
    folder = save_dinov2(tmp_path / "dinov2-small", 384, 12, 6)
    encoder = load_encoder(f"dinov2@{folder}")
    features = encoder(photograph(224, 224))
    assert features.shape == (1, 5 * 384)
    assert encoder.name == f"dinov2@{folder}"


def test_dinov2_without_some_of_its_weights_is_refused(small: Path, tmp_path: Path):
    config = json.loads((small / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    (tmp_path / "model.safetensors").write_bytes((small / "model.safetensors").read_bytes())
    with pytest.raises(WrongWeightsError, match="missing_keys"):
        load_encoder(f"dinov2@{tmp_path}")


def test_auto_takes_what_is_here(tmp_path: Path, monkeypatch):
    assert choose_encoder("auto", "emoji-lcm") == "emoji"
    monkeypatch.setattr(encoders, "find_published", lambda part: None)
    assert choose_encoder("auto", "me/model") is None
    monkeypatch.setattr(encoders, "find_published", lambda part: tmp_path if "clip" in part.where else None)
    assert choose_encoder("auto", "me/model") == "clip"
    monkeypatch.setattr(encoders, "find_published", lambda part: tmp_path)
    assert choose_encoder("auto", "me/model") == "dinov2"
    assert choose_encoder("none", "emoji-lcm") is None


def test_what_cannot_be_had_is_told(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(encoders, "find_published", lambda part: None)
    with pytest.raises(UnknownNameError, match="Did you mean 'dinov2'"):
        choose_encoder("dinov", "emoji-lcm")
    with pytest.raises(MissingWeightsError, match=r"346 MB.*\n.*hf download facebook/dinov2-base"):
        load_encoder("dinov2")
    with pytest.raises(MissingWeightsError, match="no such folder"):
        load_encoder("dinov2@./nothing")


def test_any_clip_will_do():
    features = load_encoder(f"clip@{world_assets() / 'clip'}")(scenes(3, anything))
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(3))

"""Scores equal those of the reference implementations (golden vectors: rewards/generate.py); mistakes would show.

References: hpsv2 1.2.0, clip-anytorch 2.6.0 (OpenAI's CLIP), image-reward 1.5, bert-score 0.3.13.
"""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, BertModel, BlipConfig, CLIPModel

sys.path.insert(0, str(Path(__file__).parent / "rewards"))
import recipe

from kedge.rewards.aesthetic import Aesthetic, LinearHead
from kedge.rewards.bertscore import BertScore
from kedge.rewards.blip import BlipNetwork, blip_large, from_published, projections, to_published
from kedge.rewards.blipscore import BLIPMatch, BLIPScore
from kedge.rewards.clip import CLIPScore
from kedge.rewards.hps import HPS
from kedge.rewards.image_reward import ImageReward
from kedge.rewards.openclip import VIT_H_14, from_open_clip, to_clip_config, to_open_clip
from kedge.rewards.preprocess import CropPreprocess, normalise
from kedge.rewards.weights import check_match

HERE = Path(__file__).parent / "rewards"
GOLDEN = json.loads((HERE / "golden.json").read_text())
LAYOUTS = json.loads(gzip.decompress((HERE / "layouts.json.gz").read_bytes()))
SAME_IMAGE = 1e-5  # from 8-bit images, through our own preprocessing and tokenising: about 1e-6 is left
SHOWS = 1e-3  # what a mistake costs at the least
PROMPTS = list(recipe.PROMPTS)


def tensors(layout: dict[str, list[int]], seed: int) -> dict[str, Tensor]:
    return {key: torch.tensor(value) for key, value in recipe.weights(layout, seed).items()}


def images() -> list[Tensor]:
    return [torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255 for pixels in recipe.pictures()]


def scores(reward) -> np.ndarray:
    """``[pictures, prompts]``."""
    with torch.no_grad():
        return np.stack([reward(x.expand(len(PROMPTS), -1, -1, -1), PROMPTS).numpy() for x in images()])


def error(actual: np.ndarray, expected: list) -> float:
    return float(np.abs(actual - np.array(expected)).max())


@pytest.fixture(scope="module")
def hps(tmp_path_factory) -> HPS:
    folder, golden = tmp_path_factory.mktemp("hps"), GOLDEN["hpsv2"]
    recipe.write_clip_tokenizer(folder)
    torch.save({"state_dict": tensors(golden["layout"], golden["seed"])}, folder / "HPS_v2_compressed.pt")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": golden["config"]}))
    return HPS(folder / "HPS_v2_compressed.pt", folder)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> Path:
    """OpenAI's weights as a transformers folder, as the hub has them."""
    folder, golden = tmp_path_factory.mktemp("clip"), GOLDEN["clip"]
    recipe.write_clip_tokenizer(folder)
    model = CLIPModel(to_clip_config(golden["config"]))
    model.load_state_dict(from_open_clip(tensors(golden["layout"], golden["seed"])))
    model.save_pretrained(folder)
    processor = {"size": recipe.SIDE, "crop_size": recipe.SIDE, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    torch.save(tensors(golden["head_layout"], golden["head_seed"]), folder / "head.pth")
    return folder


@pytest.fixture(scope="module")
def blip_folder(tmp_path_factory) -> Path:
    folder, golden = tmp_path_factory.mktemp("blip"), GOLDEN["blip"]
    vocabulary = recipe.write_bert_tokenizer(folder)
    vision = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4}
    text = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3}
    words = {"bos_token_id": vocabulary - 2, "sep_token_id": 3, "eos_token_id": 3}
    config = BlipConfig(
        vision_config={**vision, "image_size": recipe.SIDE, "patch_size": 14, "layer_norm_eps": 1e-6},
        text_config={**text, **words, "vocab_size": vocabulary, "max_position_embeddings": 64},
        image_text_hidden_size=32,
    )
    config.save_pretrained(folder)
    layout = golden["layouts"]["score"]
    head = {key: shape for key, shape in layout.items() if key.startswith("itm_head.")}
    state = tensors({key: shape for key, shape in layout.items() if key not in head}, seed=4)
    state |= {f"itm_head.{k}": v for k, v in tensors({k[9:]: s for k, s in head.items()}, seed=5).items()}
    torch.save({"model": state}, folder / "model_large.pth")
    torch.save(tensors(golden["layouts"]["reward"], seed=6), folder / "ImageReward.pt")
    return folder


def test_pictures_are_those_that_the_references_saw():
    assert [zlib.crc32(np.ascontiguousarray(p).tobytes()) for p in recipe.pictures()] == GOLDEN["pictures"]


def test_references_tell_pictures_and_prompts_apart():
    """Golden vectors that hardly vary would prove nothing."""
    for table in (GOLDEN["hpsv2"]["scores"], GOLDEN["clip"]["cosines"], GOLDEN["blip"]["rewards"]):
        assert np.std(table, axis=0).min() > SHOWS
        assert np.std(table, axis=1).min() > SHOWS


def test_hpsv2_equals_its_package(hps):
    assert error(scores(hps), GOLDEN["hpsv2"]["scores"]) < SAME_IMAGE


def test_hpsv2_features_equal_its_package(hps):
    with torch.no_grad():
        features = torch.cat([hps.clip.image_features(x)[:, :8] for x in images()])
    assert error(features.numpy(), GOLDEN["hpsv2"]["features"]) < SAME_IMAGE


def test_clip_tokens_equal_openai(clip_folder):
    reward = CLIPScore(clip_folder)
    assert [reward.clip.tokenize(prompt)[0].tolist() for prompt in PROMPTS] == GOLDEN["clip"]["tokens"]


def test_clipscore_equals_openai(clip_folder):
    assert error(scores(CLIPScore(clip_folder)), GOLDEN["clip"]["cosines"]) < SAME_IMAGE


def test_aesthetic_equals_its_reference(clip_folder):
    actual = scores(Aesthetic(clip_folder / "head.pth", clip_folder))
    assert error(actual, np.array(GOLDEN["clip"]["aesthetics"])[:, None]) < SAME_IMAGE


def test_aesthetic_head_is_one_affine_map(clip_folder):
    """In float64 the five layers collapse into one."""
    head = Aesthetic(clip_folder / "head.pth", clip_folder).head.double()
    width = head.layers[0].in_features
    bias = head(torch.zeros(1, width, dtype=torch.float64))
    weight = head(torch.eye(width, dtype=torch.float64)) - bias
    x = torch.randn(5, width, dtype=torch.float64)
    torch.testing.assert_close(x @ weight + bias, head(x), rtol=0, atol=1e-12)


def test_blipscore_equals_its_reference(blip_folder):
    reward = BLIPScore(blip_folder / "model_large.pth", blip_folder)
    assert reward.read(PROMPTS, "cpu")["input_ids"].tolist() == GOLDEN["blip"]["tokens"]
    assert error(scores(reward), GOLDEN["blip"]["itc"]) < SAME_IMAGE


def test_blip_matching_equals_its_reference(blip_folder):
    assert error(scores(BLIPMatch(blip_folder / "model_large.pth", blip_folder)), GOLDEN["blip"]["itm"]) < SAME_IMAGE


def test_image_reward_equals_its_package(blip_folder):
    assert (
        error(scores(ImageReward(blip_folder / "ImageReward.pt", blip_folder)), GOLDEN["blip"]["rewards"]) < SAME_IMAGE
    )


def test_bertscore_equals_its_package(tmp_path):
    golden = GOLDEN["bertscore"]
    recipe.write_bert_tokenizer(tmp_path)
    model = BertModel(BertConfig(**golden["config"]))
    model.load_state_dict(tensors(golden["layout"], golden["seed"]))
    model.save_pretrained(tmp_path)
    said, meant = zip(*recipe.BERT_TEXTS, strict=True)
    actual = BertScore(tmp_path, layer=golden["num_layers"]).recall(said, meant)
    assert error(actual.numpy(), golden["recalls"]) < SAME_IMAGE
    other_layer = BertScore(tmp_path, layer=2).recall(said, meant)
    assert error(other_layer.numpy(), golden["recalls"]) > SHOWS


# The true architectures, without memory: keys and shapes in the published layouts, as the references build them.


def published(name: str) -> dict[str, Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in LAYOUTS[name].items()}


def test_hpsv2_layout_is_complete():
    with torch.device("meta"):
        expected = CLIPModel(to_clip_config(VIT_H_14)).state_dict()
    check_match(expected, from_open_clip(published("ViT-H-14")), Path("HPS_v2_compressed.pt"))
    check_match(published("ViT-H-14"), to_open_clip(expected), Path("the way back"))
    assert sum(value.numel() for value in expected.values()) == 986_109_441


@pytest.mark.parametrize(("name", "extra"), [("BLIP-L", ()), ("BLIP-L", ("itm_head",)), ("ImageReward", ("mlp",))])
def test_blip_layouts_are_complete(name, extra):
    config = blip_large()
    parts = {"itm_head": lambda: nn.Linear(768, 2), "mlp": lambda: LinearHead(768)}
    with torch.device("meta"):
        expected = BlipNetwork(config, {**projections(config), **{key: parts[key]() for key in extra}}).state_dict()
    state = {key.removeprefix("blip."): value for key, value in published(name).items()}
    state |= {key: value for key, value in expected.items() if key.startswith("itm_head")}
    check_match(expected, from_published(state), Path(name))
    check_match(state, to_published(expected), Path("the way back"))


# Negative controls: each of these mistakes must show.


def test_wrong_activation_shows(hps, clip_folder, tmp_path):
    golden = GOLDEN["hpsv2"]
    recipe.write_clip_tokenizer(tmp_path)
    torch.save({"state_dict": tensors(golden["layout"], golden["seed"])}, tmp_path / "HPS.pt")
    wrong = {"model_cfg": {**golden["config"], "quick_gelu": True}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(wrong))
    assert error(scores(HPS(tmp_path / "HPS.pt", tmp_path)), golden["scores"]) > SHOWS


def test_missing_antialias_shows(hps, clip_folder):
    assert (
        error(scores(with_preprocess(hps, replace(hps.clip.preprocess, antialias=False))), GOLDEN["hpsv2"]["scores"])
        > SHOWS
    )
    naive = with_preprocess(CLIPScore(clip_folder), _no_antialias)
    assert error(scores(naive), GOLDEN["clip"]["cosines"]) > SHOWS


def test_wrong_crop_shows(hps, clip_folder):
    shifted = with_preprocess(CLIPScore(clip_folder), _cropped_at_the_corner)
    assert error(scores(shifted), GOLDEN["clip"]["cosines"]) > SHOWS
    cropped = with_preprocess(hps, CropPreprocess(recipe.SIDE))
    assert error(scores(cropped), GOLDEN["hpsv2"]["scores"]) > SHOWS


def test_missing_normalisation_shows(clip_folder):
    bare = with_preprocess(CLIPScore(clip_folder), CropPreprocess(recipe.SIDE, (0.0,) * 3, (1.0,) * 3, offset="round"))
    assert error(scores(bare), GOLDEN["clip"]["cosines"]) > SHOWS


def test_one_pass_resize_shows(clip_folder):
    one_pass = with_preprocess(CLIPScore(clip_folder), _one_pass)
    exact = error(scores(CLIPScore(clip_folder)), GOLDEN["clip"]["cosines"])
    assert error(scores(one_pass), GOLDEN["clip"]["cosines"]) > 10 * exact


def with_preprocess(reward, preprocess):
    """A copy of a reward that prepares its pixels in another way."""
    copy = object.__new__(type(reward))
    copy.__dict__.update(reward.__dict__)
    copy.clip = object.__new__(type(reward.clip))
    copy.clip.__dict__.update(reward.clip.__dict__)
    copy.clip.preprocess = preprocess
    return copy


def _resized(x: Tensor, antialias: bool) -> Tensor:
    height, width = x.shape[-2:]
    size = recipe.SIDE * height // min(height, width), recipe.SIDE * width // min(height, width)
    return F.interpolate(x, size, mode="bicubic", antialias=antialias)


def _no_antialias(x: Tensor) -> Tensor:
    return CropPreprocess(recipe.SIDE, offset="round")(_resized(x, antialias=False))


def _one_pass(x: Tensor) -> Tensor:
    return CropPreprocess(recipe.SIDE, offset="round")(_resized(x, antialias=True))


def _cropped_at_the_corner(x: Tensor) -> Tensor:
    clean = CropPreprocess(recipe.SIDE)
    return normalise(_resized(x, antialias=True)[..., : recipe.SIDE, : recipe.SIDE].clamp(0, 1), clean.mean, clean.std)

"""HPSv3 equals its published inference scorer (hpsv3 1.0.0), one picture at a time; the usual mistakes would show."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent / "rewards"))
import recipe

from helpers import tiny_qwen
from kedge.rewards.hpsv3 import VOCABULARY, HPSv3, HPSv3Network, from_published, to_published
from kedge.rewards.hpsv3_instruction import INSTRUCTION, PLACE, REQUEST
from kedge.rewards.qwen_published import qwen2_vl_7b
from kedge.rewards.weights import WrongWeightsError

HERE = Path(__file__).parent / "hpsv3"
GOLDEN = json.loads((HERE / "golden.json").read_text())
SAME = 1e-5
SHOWS = 1e-3


def state() -> dict[str, torch.Tensor]:
    return {key: torch.tensor(value) for key, value in recipe.weights(GOLDEN["layout"], GOLDEN["seed"]).items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hpsv3")
    ids = tiny_qwen.write_words(folder / "words")
    (folder / "words" / "config.json").write_text(json.dumps(tiny_qwen.config("qwen2_vl", ids, 420)))
    tiny_qwen.write_processor(folder / "words")
    save_file(state(), folder / "HPSv3.safetensors")
    return folder


@pytest.fixture(scope="module")
def reward(folder) -> HPSv3:
    return HPSv3(folder / "HPSv3.safetensors", folder / "words")


def rated(reward: HPSv3, pictures: int, prompts: int) -> np.ndarray:
    """``[pictures, prompts, 2]``: μ and σ of every pair."""
    rows = []
    for pixels in recipe.pictures()[:pictures]:
        images = torch.from_numpy(pixels).permute(2, 0, 1)[None].expand(prompts, -1, -1, -1) / 255
        with torch.no_grad():
            rows.append(torch.stack(reward.rate(images, recipe.PROMPTS[:prompts]), dim=1).numpy())
    return np.stack(rows)


def published() -> np.ndarray:
    scores = np.array(GOLDEN["scores"])
    scores[..., 1] = np.exp(scores[..., 1])  # the second output is ln σ: so the package's own loss reads it
    return scores


def error(reward: HPSv3, pictures: int = 2, prompts: int = 1) -> float:
    return float(np.abs(rated(reward, pictures, prompts) - published()[:pictures, :prompts]).max())


def test_mean_and_sigma_are_the_published_scorers(reward):
    assert error(reward, len(recipe.SIZES), len(recipe.PROMPTS)) < SAME


def test_it_reads_the_same_tokens(reward):
    height, width = recipe.SIZES[0]
    tokens = reward.sees.preprocess.tokens(height, width)
    for prompt, count, total in zip(recipe.PROMPTS, GOLDEN["tokens"], GOLDEN["sums"], strict=True):
        ids = reward.sees.reader(INSTRUCTION.replace(PLACE, prompt) + REQUEST, tokens)[0].tolist()
        assert (len(ids), int(np.dot(ids, np.arange(len(ids))) % 1_000_003)) == (count, total)


def test_positions_by_row_and_column_would_show(reward):
    reward.sees.flat = False
    try:
        assert error(reward) > SHOWS
    finally:
        reward.sees.flat = True


def test_another_size_or_resize_would_show(reward):
    right = reward.sees.preprocess
    try:
        reward.sees.preprocess = replace(right, smallest=right.smallest // 2, largest=right.largest // 2)
        assert error(reward) > SHOWS
        reward.sees.preprocess = replace(right, quantize=False)
        assert error(reward) > SAME
    finally:
        reward.sees.preprocess = right


def test_pessimism_stays_below_the_mean_by_its_sigmas(folder, reward):
    careful = HPSv3(folder / "HPSv3.safetensors", folder / "words", pessimism=2.0)
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    mean, sigma = reward.rate(images, recipe.PROMPTS[:2])
    torch.testing.assert_close(careful(images, recipe.PROMPTS[:2]), mean - 2 * sigma)
    assert (sigma > 0).all()


def test_the_true_network_has_the_published_files_layout():
    """The names and shapes of Qwen2-VL-7B in the published file: those of the tiny golden one, at the true sizes."""
    with torch.device("meta"):
        true = to_published(HPSv3Network(qwen2_vl_7b(VOCABULARY)).state_dict())
    small = {key for key in GOLDEN["layout"] if key != "lm_head.weight"}
    blocks = {key.split(".")[2] for key in true if key.startswith("visual.blocks.")}
    assert len(blocks) == 32
    assert {key for key in true if ".blocks." not in key and ".layers." not in key} == {
        key for key in small if ".blocks." not in key and ".layers." not in key
    }
    for kind in ("visual.blocks.0.", "model.layers.0."):
        assert {key for key in true if key.startswith(kind)} == {key for key in small if key.startswith(kind)}


def test_names_go_back_and_forth():
    named = {key: value for key, value in state().items() if key != "lm_head.weight"}
    assert to_published(from_published(named)).keys() == named.keys()


def test_other_weights_are_refused_by_name(folder, tmp_path):
    wrong = {key: value for key, value in state().items() if key != "rm_head.3.bias"}
    save_file(wrong, tmp_path / "HPSv3.safetensors")
    with pytest.raises(WrongWeightsError, match=r"rm_head\.3\.bias"):
        HPSv3(tmp_path / "HPSv3.safetensors", folder / "words")


def test_a_prompt_with_a_special_token_is_refused(reward):
    images = torch.rand(1, 3, 40, 40)
    for token in ("<|Reward|>", "<|image_pad|>"):
        with pytest.raises(ValueError, match="may not hold"):
            reward(images, [f"a cat {token}"])

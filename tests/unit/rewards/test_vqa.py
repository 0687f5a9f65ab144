"""The log-odds of Yes, for every kind of model, equal to transformers' own model on its own processor's pixels."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from helpers import tiny_rewards
from kedge.pixels import to_uint8
from kedge.rewards import MissingWeightsError, describe, load_reward
from kedge.rewards.sources import fetch_command
from kedge.rewards.vision_language import KINDS
from kedge.rewards.vqa import QUESTION, VQA

PROMPT = "a cat; 'two' dogs"


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    return tiny_rewards.write_vqa(tmp_path_factory.mktemp(request.param), kind=request.param)


def reference_logits(folder, images, question):
    """``[B, words]`` of the next word, through transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    content = [{"type": "image"}, {"type": "text", "text": question}]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    rows = []
    for pixels in to_uint8(images).numpy():
        picture = AutoImageProcessor.from_pretrained(folder)(Image.fromarray(pixels), return_tensors="pt")
        count = int(picture["image_grid_thw"].prod()) // 4
        ids = tokenizer(text.replace("<|image_pad|>", "<|image_pad|>" * count), return_tensors="pt")["input_ids"]
        kinds = (ids == model.config.image_token_id).int()
        with torch.no_grad():
            rows.append(model(input_ids=ids, mm_token_type_ids=kinds, use_cache=False, **picture).logits[0, -1])
    return torch.stack(rows), tokenizer


@pytest.mark.parametrize("size", [(64, 64), (70, 101)])
def test_it_is_transformers_own_answer(folder, size):
    images = to_uint8(tiny_rewards.pictures(2, *size)).permute(0, 3, 1, 2) / 255
    logits, tokenizer = reference_logits(folder, images, QUESTION.replace("{prompt}", PROMPT))
    yes, no = tokenizer.convert_tokens_to_ids(["Yes", "No"])
    with torch.no_grad():
        score = VQA(folder)(images, [PROMPT] * 2)
        alone = VQA(folder, no="")(images, [PROMPT] * 2)
    torch.testing.assert_close(score, logits[:, yes] - logits[:, no], rtol=0, atol=2e-5)
    probability = logits.softmax(1)[:, yes]
    torch.testing.assert_close(alone, probability.logit(), rtol=0, atol=2e-5)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return tiny_rewards.write_vqa(tmp_path_factory.mktemp("one"), kind="qwen2_5_vl")


def test_the_question_and_the_answers_are_settings(one):
    images = tiny_rewards.pictures(1, 64, 64)
    text = f"""vqa(question='Is "{{prompt}}" {{here}}?', yes="No", no="Yes")@"{one}\""""
    loaded = load_reward(text)(images, ["x"])
    direct = VQA(one, question='Is "{prompt}" {here}?', yes="No", no="Yes")(images, ["x"])
    assert torch.equal(loaded, direct)
    assert not torch.equal(loaded, VQA(one)(images, ["x"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"question": "Is it good?"}, r"lacks \{prompt\}"),
        ({"yes": "Absolutely"}, "one token of the model: 'Absolutely' is"),
    ],
)
def test_settings_that_cannot_work_are_refused(one, settings, message):
    with pytest.raises(ValueError, match=message):
        VQA(one, **settings)


def test_a_prompt_with_the_models_own_tokens_is_refused(one):
    with pytest.raises(ValueError, match=r"own token '<.im_end.>'"):
        VQA(one)(tiny_rewards.pictures(1, 64, 64), ["a cat<|im_end|>"])


def test_unknown_settings_name_the_nearest(one):
    with pytest.raises(ValueError, match=r"no setting 'questoin'.*question"):
        describe('vqa(questoin="Is {prompt} here?")')
    with pytest.raises(ValueError, match="pessimism must be a number, not 'much'"):
        describe("hpsv3(pessimism=much)")
    with pytest.raises(ValueError, match="'pickscore' has no setting 'x'"):
        describe("pickscore(x=1)")


def test_another_kind_of_model_is_refused(tmp_path):
    folder = tiny_rewards.write_vqa(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "llava"}))
    with pytest.raises(ValueError, match=r"type 'llava'.*qwen3_vl"):
        VQA(folder)


def test_weights_that_lack_something_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny_rewards.write_vqa(tmp_path)
    state = load_file(folder / "model.safetensors")
    gone = next(key for key in state if key.endswith("q_proj.weight"))
    del state[gone]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights of its own config.*q_proj"):
        VQA(folder)


def test_weights_in_several_files_are_read(tmp_path, one):
    images = tiny_rewards.pictures(1, 64, 64)
    model = AutoModelForImageTextToText.from_pretrained(one)
    folder = tiny_rewards.write_vqa(tmp_path, kind="qwen2_5_vl")
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    assert (folder / "model.safetensors.index.json").is_file()
    assert torch.equal(load_reward(f'vqa@"{folder}"')(images, ["a"]), VQA(one)(images, ["a"]))


def test_what_is_not_here_comes_with_its_command():
    with pytest.raises(MissingWeightsError) as error:
        load_reward("vqa@Qwen/Qwen3-VL-4B-Instruct")
    assert 'hf download Qwen/Qwen3-VL-4B-Instruct --include "*.json" --include "*.txt"' in str(error.value)
    assert '--include "*.safetensors" --include "*.jinja"' in str(error.value)
    assert fetch_command(describe("hpsv3").parts[0]) == "hf download MizzenAI/HPSv3 HPSv3.safetensors"

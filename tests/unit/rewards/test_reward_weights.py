"""Wrong files are refused with what was expected and found."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel

from helpers.tiny_rewards import (
    pictures,
    randomise,
    write_aesthetic,
    write_blip,
    write_clip,
    write_hps,
    write_image_reward,
)
from kedge.rewards import load_reward
from kedge.rewards.openclip import from_open_clip, to_clip_config, to_open_clip, to_open_clip_config
from kedge.rewards.weights import WrongWeightsError, read_state
from kedge.vocabulary import check_vocabulary


def test_open_clip_layout_survives_the_round_trip():
    config = to_clip_config(
        {
            "embed_dim": 24,
            "vision_cfg": {"image_size": 28, "layers": 2, "width": 32, "head_width": 16, "patch_size": 14},
            "text_cfg": {"context_length": 9, "vocab_size": 50, "width": 16, "heads": 2, "layers": 3},
        }
    )
    state = randomise(CLIPModel(config), 0).state_dict()
    back = from_open_clip(to_open_clip(state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    assert to_clip_config(to_open_clip_config(config)).to_dict() == config.to_dict()
    assert isinstance(config, CLIPConfig)


def test_half_precision_files_load_as_float32(tmp_path):
    half = load_reward(f"hpsv2@{write_hps(tmp_path / 'half', dtype=torch.float16)}")
    full = load_reward(f"hpsv2@{write_hps(tmp_path / 'full', dtype=torch.float32)}")
    assert {p.dtype for p in half.clip.model.parameters()} == {torch.float32}
    x = pictures(2, 48, 48)
    a, b = half(x, ["a cat", "a dog"]), full(x, ["a cat", "a dog"])
    assert not torch.equal(a, b)
    torch.testing.assert_close(a, b, rtol=0, atol=5e-3)


def test_the_tokenizer_must_be_the_networks_own(tmp_path):
    """All published files in one folder have one ``tokenizer``, and two vocabularies."""
    hps, blip = write_hps(tmp_path / "hps"), write_blip(tmp_path / "blip")
    words = hps.with_name("vocab.json")
    vocabulary = json.loads(words.read_text())
    words.write_text(json.dumps(vocabulary | {"one": len(vocabulary)}))
    with pytest.raises(ValueError, match=r"has \d+ words, but this CLIP was trained with \d+: it belongs to another"):
        load_reward(f"hpsv2@{hps}")
    words = blip.with_name("vocab.txt")
    words.write_text(words.read_text() + "\n" + "\n".join(f"word{number}" for number in range(10)))
    with pytest.raises(ValueError, match=r"has \d+ words, but this BLIP was trained with"):
        load_reward(f"blipscore@{blip}")


@pytest.mark.parametrize(("words", "rows"), [(30522, 49408), (49408, 30524), (30522, 30522 + 513)])
def test_two_vocabularies_are_told_apart(words: int, rows: int) -> None:
    with pytest.raises(ValueError, match=f"has {words} words, but x was trained with {rows}"):
        check_vocabulary(words, rows, "x", "folder")
    for right, embedding in ((49408, 49408), (30522, 30524), (32100, 32128), (128001, 128100)):
        check_vocabulary(right, embedding, "x", "folder")


def test_a_file_of_hps_says_which_version_it_is(tmp_path):
    file = write_hps(tmp_path / "hps")
    newer = file.rename(file.with_name("HPS_v2.1_compressed.pt"))
    with pytest.raises(WrongWeightsError, match=r"HPS v2\.1 by its name, not hpsv2: ask for hpsv2\.1@"):
        load_reward(f"hpsv2@{newer}")
    load_reward(f"hpsv2.1@{newer}")


def test_a_file_of_another_architecture_says_what_goes_beside_it(tmp_path):
    file = write_blip(tmp_path / "blip")
    (file.parent / "config.json").unlink()
    with pytest.raises(WrongWeightsError, match=r"of another architecture, put its config\.json beside them"):
        load_reward(f"blipscore@{file}")


@pytest.mark.parametrize(
    ("name", "write"), [("hpsv2", write_hps), ("blipscore", write_blip), ("imagereward", write_image_reward)]
)
def test_truncated_file(name, write, tmp_path):
    file = write(tmp_path / name)
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(WrongWeightsError, match=r"bytes\) cannot be read as weights: truncated"):
        load_reward(f"{name}@{file}")


def test_truncated_safetensors(tmp_path):
    file = write_clip(tmp_path) / "model.safetensors"
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(WrongWeightsError, match="truncated"):
        load_reward(f"pickscore@{tmp_path}")


def test_page_saved_instead_of_the_file(tmp_path):
    file = write_aesthetic(tmp_path)
    file.write_text("<html>Not Found</html>")
    with pytest.raises(WrongWeightsError, match="not a weights file"):
        load_reward(f"aesthetic@{file}")


def test_missing_and_unexpected_keys(tmp_path):
    state = load_file(write_clip(tmp_path) / "model.safetensors")
    state["text_model.something_new"] = state.pop("logit_scale")
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WrongWeightsError, match=r"1 missing: logit_scale; 1 unexpected: text_model\.something_new"):
        load_reward(f"clipscore@{tmp_path}")


def test_another_shape(tmp_path):
    state = load_file(write_clip(tmp_path) / "model.safetensors")
    state["visual_projection.weight"] = torch.zeros(7, 32)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WrongWeightsError, match=r"visual_projection\.weight \[7, 32\] instead of \[24, 32\]"):
        load_reward(f"clipscore@{tmp_path}")


def test_names_are_those_of_the_file(tmp_path):
    file = write_hps(tmp_path)
    state = torch.load(file)["state_dict"]
    del state["visual.transformer.resblocks.0.attn.in_proj_weight"]
    torch.save({"state_dict": state}, file)
    with pytest.raises(WrongWeightsError, match=r"missing: visual\.transformer\.resblocks\.0\.attn\.in_proj_weight"):
        load_reward(f"hpsv2@{file}")


def test_files_taken_for_each_other(tmp_path):
    hps, blip = write_hps(tmp_path / "hps"), write_blip(tmp_path / "blip")
    with pytest.raises(WrongWeightsError, match="the key 'state_dict', found the keys model"):
        load_reward(f"hpsv2@{blip}")
    with pytest.raises(WrongWeightsError, match="key 'model'"):
        load_reward(f"blipscore@{hps}")
    with pytest.raises(WrongWeightsError, match="expected a state dict"):
        load_reward(f"imagereward@{blip}")


def test_published_size_is_expected_without_a_config(tmp_path):
    """A tiny checkpoint without its config is not silently taken for ViT-H/14."""
    file = write_hps(tmp_path)
    (tmp_path / "open_clip_config.json").unlink()
    with pytest.raises(WrongWeightsError, match=r"missing.*another shape"):
        load_reward(f"hpsv2@{file}")


def test_config_of_another_model(tmp_path):
    folder = write_blip(tmp_path / "blip").parent
    clip = write_clip(tmp_path / "clip")
    (clip / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ValueError, match="expected a model of type 'clip', found 'blip'"):
        load_reward(f"pickscore@{clip}")


def test_code_in_a_file_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"state_dict": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(WrongWeightsError):
        read_state(tmp_path / "trap.pt", unwrap="state_dict")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("name", "write"), [("blipscore", write_blip), ("pickscore", write_clip)])
def test_file_written_anew_does_not_change_a_loaded_reward(name, write, tmp_path):
    """Loading maps the file; what is mapped must not stay so."""
    path = write(tmp_path)
    reward, x = load_reward(f"{name}@{path}"), pictures(1, 40, 40)
    before = reward(x, ["a cat"])
    for file in (path / "model.safetensors", path):
        if file.is_file():
            file.write_bytes(bytes(file.stat().st_size))
    assert torch.equal(reward(x, ["a cat"]), before)


def test_training_leftovers_and_old_buffers_are_no_error(tmp_path):
    file = write_blip(tmp_path)
    before = load_reward(f"blipscore@{file}")
    state = torch.load(file)["model"]
    for key in [key for key in state if key.startswith("visual_encoder.")]:
        state[key.replace("visual_encoder.", "visual_encoder_m.")] = state[key]
    state |= {"image_queue": torch.zeros(2), "queue_ptr": torch.zeros(1), "temp": torch.zeros([])}
    state["text_encoder.embeddings.position_ids"] = torch.arange(40)[None]
    torch.save({"model": state}, file)
    x = pictures(1, 40, 40)
    assert torch.equal(load_reward(f"blipscore@{file}")(x, ["a cat"]), before(x, ["a cat"]))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("pickscore", write_clip),
        ("hpsv2", write_hps),
        ("aesthetic", write_aesthetic),
        ("blipscore", write_blip),
        ("imagereward", write_image_reward),
    ],
)
def test_half_precision_networks_score_nearly_alike(name, write, tmp_path):
    path = write(tmp_path)
    full, half = load_reward(f"{name}@{path}"), load_reward(f"{name}@{path}", dtype=torch.bfloat16)
    x = pictures(2, 48, 48).requires_grad_()
    a, b = full(x, ["a cat", "a dog"]), half(x, ["a cat", "a dog"])
    assert b.dtype == torch.float32
    assert not torch.equal(a, b)
    torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)
    (gradient,) = torch.autograd.grad(b.sum(), x)
    assert gradient.dtype == torch.float32
    assert gradient.abs().sum() > 0

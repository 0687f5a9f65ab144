"""The recipe at its smallest: every stage runs, resumes exactly, and leaves what diffusers and the rewards can open."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from kedge.worlds.emoji.build import card, recipe
from kedge.worlds.emoji.build.aesthetic import colourfulness
from kedge.worlds.emoji.build.lcm import guidance_embedding
from kedge.worlds.emoji.build.loop import Schedule, train
from kedge.worlds.emoji.build.pictures import CANDIDATES, Pictures, altered
from kedge.worlds.emoji.build.preference import Raters, pairwise_accuracy
from kedge.worlds.emoji.captions import parse, sample_training_spec
from kedge.worlds.emoji.networks import make_tokenizer, words


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A whole build at the smoke budget."""
    folder = tmp_path_factory.mktemp("world")
    recipe.build(list(recipe.STAGES), folder, "smoke", "cpu")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("model", ["emoji-diffusion", "emoji-lcm"])
def test_the_build_leaves_folders_that_diffusers_runs(built, model):
    pipeline = DiffusionPipeline.from_pretrained(built / model, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(["a cat", "two dogs"], num_inference_steps=2, output_type="np").images
    assert images.shape == (2, 32, 32, 3)
    assert np.isfinite(images).all()


@pytest.mark.slow
def test_the_build_notes_every_stage(built):
    notes = [json.loads(line) for line in (built / "build.jsonl").read_text().splitlines()]
    assert [note["stage"] for note in notes if "stage" in note] == list(recipe.STAGES)
    assert {note["reward"] for note in notes if "reward" in note} >= {
        "pickscore", "hpsv2", "aesthetic", "imagereward", "vqa"
    }  # fmt: skip


def linear_stage(folder, steps, stop=None):
    torch.manual_seed(0)
    model, slow = torch.nn.Linear(3, 1), torch.nn.Linear(3, 1).requires_grad_(False)

    def loss(generator):
        slow.weight.lerp_(model.weight.detach(), 0.1)
        if stop is not None and loss.calls == stop:
            raise KeyboardInterrupt
        loss.calls += 1
        x = torch.randn(8, 3, generator=generator)
        return ((model(x) - slow(x) - x.sum(1, keepdim=True)) ** 2).mean(), {}

    loss.calls = 0
    schedule = Schedule(steps=steps, batch=8, lr=1e-2, warmup=2)
    quiet = {"seed": 0, "device": torch.device("cpu"), "followers": {"model": slow}, "say": lambda text: None}
    return train("linear", {"model": model}, loss, schedule, folder, **quiet)["model"]


def test_a_stopped_stage_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    whole = linear_stage(tmp_path / "whole", 20)
    monkeypatch.setattr("kedge.worlds.emoji.build.loop.SAVE_SECONDS", -1)  # save after every step
    with pytest.raises(KeyboardInterrupt):
        linear_stage(tmp_path / "parts", 20, stop=11)
    resumed = linear_stage(tmp_path / "parts", 20)
    for name in whole:
        torch.testing.assert_close(resumed[name], whole[name], rtol=0, atol=0)


def test_the_rate_warms_up_and_decays():
    schedule = Schedule(steps=100, batch=1, lr=1.0, warmup=10)
    rates = [schedule.fraction(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, abs=2e-3)


def test_each_word_is_one_token_and_no_word_is_lost(tmp_path):
    tokenizer = make_tokenizer(tmp_path)
    assert all(len(tokenizer(word).input_ids) == 3 for word in words())
    assert tokenizer.decode(tokenizer("a wombat").input_ids, skip_special_tokens=True) == "a wombat"


def test_the_guidance_embedding_is_the_pipelines():
    from diffusers import LatentConsistencyModelPipeline

    w = torch.tensor([0.0, 1.5, 7.5])
    reference = LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, w, embedding_dim=64)
    torch.testing.assert_close(guidance_embedding(w), reference, rtol=0, atol=1e-4)


def test_altered_captions_share_something_but_differ():
    rng = random.Random(0)
    for _ in range(200):
        spec = sample_training_spec(rng)
        other = altered(spec, rng)
        assert other != spec
        assert parse(str(other)).animals == other.animals


def test_raters_follow_the_oracle_with_noise():
    generator = torch.Generator().manual_seed(0)
    better, worse = torch.full((20_000,), 0.7), torch.full((20_000,), 0.5)
    raters = Raters(temperature=0.1, slips=0.05)
    expected = 0.05 + 0.9 / (1 + np.exp(-2))
    assert float(raters.votes(better, worse, generator).mean()) == pytest.approx(expected, abs=0.01)
    assert float(replace(raters, slips=0.5).votes(better, worse, generator).mean()) == pytest.approx(0.5, abs=0.015)


def test_pairwise_accuracy_of_the_oracle_itself_and_of_its_opposite():
    oracle = torch.rand(5, CANDIDATES, generator=torch.Generator().manual_seed(0))
    images = (oracle[:, :, None, None, None] * 255).expand(-1, -1, 3, 4, 4)
    pictures = Pictures(["cat"] * 5, images, oracle, oracle)
    tokens = torch.zeros(5, 3)
    assert pairwise_accuracy(lambda images, tokens: images.mean((2, 3, 4)), tokens, pictures) == 1
    assert pairwise_accuracy(lambda images, tokens: -images.mean((2, 3, 4)), tokens, pictures) == 0


def test_the_card_says_what_the_log_says_last(tmp_path):
    def quality(right: float) -> dict[str, float]:
        names = (*card.PARTS, "acting", "total", "squared_error", "true_activity", "true_clean")
        return dict.fromkeys(names, 0.5) | {"right": right}

    measured = {prompts: quality(0.25) for prompts in card.PROMPTS}
    shares, parts = {"right": 0.9375, "ordered": 0.5}, {"activity": 0.345, "total": 0.5}
    agreement = {"prompts": 9, "pictures": 8, "accuracy": {"hpsv2": 0.71}, "prompt_accuracy": {"hpsv2": 0.83}}
    notes = [
        {"stage": "vae", "steps": 10, "batch": 2, "seconds": 60.0, "device": "cpu", "torch": "2"},
        {"stage": "vae", "steps": 20, "batch": 3, "seconds": 120.0, "device": "cpu", "torch": "2"},
        {"stage": "lcm", "steps": 7, "batch": 512, "seconds": 60.0, "device": "H200", "torch": "2"},
        {"stage": "lcm", "from_step": 7, "steps": 9, "batch": 32, "seconds": 60.0, "device": "cpu", "torch": "2"},
        {"autoencoder": {"scenes": quality(0.875), "activities": quality(0.75)}},
        {"model": "emoji-lcm"} | {prompts: quality(0.125) for prompts in card.PROMPTS},
        {"model": "emoji-lcm"} | measured,
        {"settings": [{"steps": 4, "omega": 1.5} | {prompts: quality(0.625) for prompts in card.PROMPTS}]},
        {"flow_steps": [{"steps": 2, "omega": 0.0} | {prompts: quality(0.375) for prompts in card.PROMPTS}]},
        {"reward": "aesthetic", "correlation_with_taste": 0.66},
        {"reward": "vqa", "questions": {"scenes": shares, "activities": shares, "correlation": parts}},
        agreement | {"correlation": {"hpsv2": {"hpsv2": 1.0}}},
    ]
    (tmp_path / "build.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes))
    card.write_card(tmp_path, tmp_path)
    text = (tmp_path / "README.md").read_text()
    for piece in (
        "| vae | 20 × 3 | 2 min |",
        "| lcm | 7 × 512 | 1 min | H200, 2 |\n| lcm | 7 to 9 × 32 | 1 min | cpu, 2 |",
        "87.5%",
        "| emoji-lcm | held out | 25.0% |",
        "| 4 | 1.5 | held out | 62.5% |",
        "| 2 | 0 | held out | 37.5% |",
        "`emoji-flow/`",
        "answers 93.8% of questions",
        "the oracle's activity part by 0.34, with",
    ):
        assert piece in text, piece
    assert "12.5%" not in text
    assert "10 × 2" not in text
    assert card.card(json.loads((tmp_path / card.RECORD).read_text())) == text


def test_pictures_round_trip(tmp_path):
    images = torch.randint(0, 256, (2, CANDIDATES, 3, 32, 32), dtype=torch.uint8)
    scores = torch.rand(2, CANDIDATES)
    Pictures(["cat", "two dogs"], images, scores, scores).save(tmp_path / "p.npz")
    again = Pictures.load(tmp_path / "p.npz")
    assert again.prompts == ["cat", "two dogs"]
    assert torch.equal(again.images, images)
    assert torch.equal(again.oracle, scores)


def test_grey_has_no_colour():
    grey = torch.rand(3, 1, 8, 8).expand(-1, 3, -1, -1)
    assert float(colourfulness(grey).abs().max()) < 1e-6
    assert float(colourfulness(torch.rand(3, 3, 8, 8)).min()) > 0.1

"""The recipe's flow model: its network in batches, its captions, its distillation, and the folder that comes of it."""

import json
import random

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from helpers.family_models import pictures
from kedge.policies import load_policy
from kedge.policies.families.detect import detect_kind
from kedge.worlds.emoji.build import recipe
from kedge.worlds.emoji.build.flow import Captions
from kedge.worlds.emoji.build.flow_few import OMEGA, FlowDistillation
from kedge.worlds.emoji.build.flow_networks import (
    Velocity,
    encode,
    make_flow_scheduler,
    make_flow_text_encoder,
    make_flow_tokenizer,
    make_transformer,
    read_captions,
    shifted,
)
from kedge.worlds.emoji.build.loop import follow
from kedge.worlds.emoji.build.pool import draw_loose_pool
from kedge.worlds.emoji.captions import activity_prompts, sample_training_spec
from kedge.worlds.emoji.networks import TOKENS, make_tokenizer, make_vae

CPU = torch.device("cpu")
PROMPTS = ["a squirrel on the right on a blue background", "two zebras zzz", ""]
MOST_BYTES = 7_000_000  # of what the package carries beside the autoencoder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return make_flow_tokenizer(tmp_path_factory.mktemp("words"))


def drawn_network(seed=0):
    """A transformer with no zeros left, so that every part of it counts."""
    torch.manual_seed(seed)
    network = make_transformer().eval()
    for weight in network.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    return network


@torch.no_grad()
def test_a_batch_goes_through_the_network_as_the_published_lists_do(tokenizer):
    network, encoder = drawn_network(), make_flow_text_encoder(tokenizer).eval()
    ids, lengths = read_captions(tokenizer, PROMPTS)
    text, x, sigma = encode(encoder, ids), torch.randn(3, 16, 8, 8), torch.tensor([1.0, 0.5, 0.25])
    texts = [row[:length] for row, length in zip(text, lengths.tolist(), strict=True)]
    published = network(list(x.unsqueeze(2).unbind()), 1 - sigma, texts, return_dict=False)[0]
    velocity = Velocity(network)(x, sigma, text, lengths)
    assert velocity.std() > 0.1
    torch.testing.assert_close(velocity, -torch.stack(published).squeeze(2), rtol=0, atol=1e-5)


def test_every_word_of_every_caption_is_one_token(tokenizer):
    rng = random.Random(0)
    captions = [*activity_prompts(), *(str(sample_training_spec(rng)) for _ in range(300))]
    ids, lengths = read_captions(tokenizer, captions)
    assert lengths.tolist() == [len(caption.split()) + 1 for caption in captions]
    assert int(lengths.max()) < TOKENS
    assert tokenizer.decode(ids[0, : lengths[0] - 1]) == " " + captions[0]


def test_captions_are_read_back_from_the_pools_tokens(tokenizer, tmp_path):
    words = make_tokenizer(tmp_path)
    pool = draw_loose_pool(200, 0, words, CPU)
    captions = Captions.of(pool, words, tokenizer)
    ids, lengths = read_captions(tokenizer, list(map(str, pool.specs)))
    assert torch.equal(captions.ids[captions.row], ids)
    assert torch.equal(captions.lengths[captions.row], lengths)
    assert torch.equal(captions.ids[:1], read_captions(tokenizer, [""])[0])


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_the_levels_that_are_trained_are_the_schedulers(steps):
    scheduler = make_flow_scheduler()
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist())
    times = torch.arange(steps, -1, -1) / steps
    torch.testing.assert_close(shifted(times), scheduler.sigmas, rtol=0, atol=1e-6)


def test_the_teachers_step_follows_its_line_and_the_student_knows_where_it_ends():
    """Where all data is one point, the velocity is known: every step stays on the line to it, guidance or not."""
    distillation, point = FlowDistillation(drawn_network(), drawn_network()), torch.randn(1, 16, 8, 8)
    exact = lambda x, sigma, text, lengths: (x - point) / sigma[:, None, None, None]  # noqa: E731
    distillation.teacher, text = exact, torch.zeros(8, 2, 3)
    noise, sigma, later = torch.randn(4, 16, 8, 8), torch.tensor([1, 0.8, 0.5, 0.1]), torch.tensor([0.9, 0.5, 0.2, 0])
    x = torch.lerp(point, noise, sigma[:, None, None, None])
    x_next = distillation.euler(x, (sigma, later), text, torch.ones(8))
    torch.testing.assert_close(x_next, torch.lerp(point, noise, later[:, None, None, None]))
    end = distillation.consistency(exact, x, sigma, text, torch.ones(4))
    torch.testing.assert_close(end, point.expand_as(x), rtol=0, atol=1e-5)
    still = distillation.consistency(distillation.student, x, torch.zeros(4), torch.zeros(4, 2, 96), torch.ones(4))
    torch.testing.assert_close(still, x)


def test_the_teachers_step_is_guided():
    distillation = FlowDistillation(drawn_network(), drawn_network())
    sides = lambda x, sigma, text, lengths: torch.cat([torch.ones(2, 16, 8, 8), torch.zeros(2, 16, 8, 8)])  # noqa: E731
    distillation.teacher, x = sides, torch.zeros(2, 16, 8, 8)
    stepped = distillation.euler(x, (torch.ones(2), torch.full((2,), 0.5)), torch.zeros(4, 2, 3), torch.ones(4))
    assert torch.equal(stepped, torch.full_like(x, -0.5 * (1 + OMEGA)))


def test_the_target_follows_the_student():
    distillation = FlowDistillation(drawn_network(), drawn_network())
    for weight in distillation.student.network.parameters():
        weight.data += 1
    before = distillation.target.network.x_pad_token.clone()
    follow(distillation.target.network, distillation.student.network, decay=0.75)
    torch.testing.assert_close(distillation.target.network.x_pad_token, before + 0.25)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The three stages at the smoke budget, on an autoencoder with random weights."""
    folder = tmp_path_factory.mktemp("world")
    torch.manual_seed(0)
    for name in ("vae", "sharp_vae"):
        make_vae().half().save_pretrained(folder / name)
    recipe.build(["flow", "flow_few", "pack_flow"], folder, "smoke", "cpu")
    return folder


def test_the_stages_leave_a_small_folder_that_is_recognised(built):
    model = built / "emoji-flow"
    files = [file for file in model.rglob("*") if file.is_file() and file.parent.name != "vae"]
    assert sum(file.stat().st_size for file in files) < MOST_BYTES
    assert detect_kind(model) == "z-image-turbo"


def test_its_pictures_equal_the_pipelines(built):
    pipeline = DiffusionPipeline.from_pretrained(built / "emoji-flow", dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(3)
    size = {"height": 32, "width": 32}
    expected = pipeline(list(PROMPTS), num_inference_steps=4, guidance_scale=0.0, output_type="pt", **size).images
    policy = load_policy("auto", str(built / "emoji-flow"), steps=4, guidance=0.0)
    drawn = pictures(policy, seed=3, prompts=PROMPTS)
    assert drawn.shape == (3, 3, 32, 32)
    assert drawn.std() > 0.01
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-5)


def test_every_stage_notes_its_size(built):
    notes = list(map(json.loads, (built / "build.jsonl").read_text().splitlines()))
    assert [note["stage"] for note in notes] == ["flow", "flow_few", "pack_flow"]
    assert [note.get("steps") for note in notes] == [4, 4, None]

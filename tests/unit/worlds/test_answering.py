"""The emoji world's model that answers Yes or No: what it is taught, and that the published models' reward reads it."""

from __future__ import annotations

import random

import pytest
import torch

from kedge.rewards import load_reward
from kedge.worlds.emoji.build.answering import (
    all_texts,
    answers,
    caption_places,
    falsified,
    make_answerer,
    make_vocabulary,
    read_questions,
    save_answerer,
    train_answerer,
    wrong_caption,
)
from kedge.worlds.emoji.build.loop import Schedule
from kedge.worlds.emoji.build.pool import Pool
from kedge.worlds.emoji.captions import parse
from kedge.worlds.emoji.scenes import compose, pack

CAPTIONS = ["a cat", "a fox riding a bike"]


@pytest.fixture(scope="module")
def pool() -> Pool:
    specs, rng = [parse(caption) for caption in CAPTIONS], random.Random(0)
    return Pool(specs, pack([compose(spec, rng) for spec in specs]), torch.zeros(len(specs), 1))


def test_the_reward_says_what_the_network_answers(pool, tmp_path):
    torch.manual_seed(0)
    tokenizer = make_vocabulary(all_texts(pool))
    model = make_answerer(tokenizer).eval()
    save_answerer(model, tokenizer, tmp_path)
    images, prompts = pool.images(torch.arange(2)), CAPTIONS
    ids, last = read_questions(tokenizer, prompts)
    yes, no = tokenizer.convert_tokens_to_ids(["Yes", "No"])
    with torch.no_grad():
        logits = answers(model, images, ids, last)
        score = load_reward(f'vqa@"{tmp_path}"')(images, prompts)
    assert last[0] < last[1]  # the shorter question is padded
    torch.testing.assert_close(score, logits[:, yes] - logits[:, no], rtol=1e-4, atol=1e-5)


def test_every_word_that_is_asked_about_is_known(pool):
    tokenizer = make_vocabulary(all_texts(pool))
    ids, _ = read_questions(tokenizer, CAPTIONS)
    assert tokenizer.unk_token_id not in ids


@pytest.mark.parametrize("caption", ["a cat", "cat", "two foxes at night", "a fox riding a bike", "a dog on the left"])
def test_a_falsified_caption_differs_in_one_thing_that_is_said(caption):
    """Or says that the animal does something, where it does nothing. Leaving a thing out would make it no less true."""
    spec, rng = parse(caption), random.Random(1)
    for _ in range(50):
        other = falsified(spec, rng)
        assert not other.held_out
        differing = [
            name
            for name in ("animals", "position", "activity", "background")
            if getattr(other, name) != getattr(spec, name)
        ]
        assert len(differing) == 1
        assert getattr(other, differing[0])
        assert sum(one != two for one, two in zip(other.animals, spec.animals, strict=True)) <= 1


def test_a_wrong_caption_is_never_its_own(pool):
    rng = random.Random(1)
    for _ in range(50):
        assert wrong_caption(pool, 1, rng) != CAPTIONS[1]


def test_the_words_that_it_learns_to_expect_are_the_captions(pool):
    tokenizer = make_vocabulary(all_texts(pool))
    ids, last = read_questions(tokenizer, CAPTIONS)
    places = caption_places(tokenizer, last, ids.shape[1])
    words = [tokenizer.convert_ids_to_tokens(row[place]) for row, place in zip(ids, places, strict=True)]
    assert words == [[*caption.split(), '"'] for caption in CAPTIONS]


def test_it_learns(pool, tmp_path):
    """A few steps teach it the words: it says Yes to captions that were true of scenes rather than to changed ones."""
    schedule = Schedule(steps=30, batch=8, lr=3e-3, ema=0.5, warmup=3)
    model, tokenizer = train_answerer(pool, schedule, tmp_path, seed=0)
    rng = random.Random(0)
    changed = [str(falsified(spec, rng)) for spec in pool.specs for _ in range(4)]
    ids, last = read_questions(tokenizer, [*CAPTIONS, *changed])
    images = pool.images(torch.tensor([0, 1, *[0] * 4, *[1] * 4]))
    yes, no = tokenizer.convert_tokens_to_ids(["Yes", "No"])
    with torch.no_grad():
        logits = answers(model, images, ids, last)
    odds = logits[:, yes] - logits[:, no]
    assert odds[:2].mean() > odds[2:].mean() + 0.5
    assert torch.isin(logits.argmax(1), torch.tensor([yes, no])).all()

"""The emoji world's model that answers Yes or No: what it is taught, and that the published models' reward reads it."""

from __future__ import annotations

import random

import pytest
import torch

from kedge.rewards import load_reward
from kedge.worlds.emoji.build.answering import (
    all_texts,
    answers,
    make_answerer,
    make_vocabulary,
    read_questions,
    save_answerer,
    train_answerer,
    wrong_caption,
)
from kedge.worlds.emoji.build.loop import Schedule
from kedge.worlds.emoji.build.pictures import altered
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


def test_a_wrong_caption_is_never_its_own(pool):
    rng = random.Random(1)
    for _ in range(50):
        assert wrong_caption(pool, 1, rng) != CAPTIONS[1]


def test_it_learns(pool, tmp_path):
    """A few steps teach it the words: it says Yes to captions that were true of scenes rather than to changed ones."""
    schedule = Schedule(steps=30, batch=8, lr=3e-3, ema=0.5, warmup=3)
    model, tokenizer = train_answerer(pool, schedule, tmp_path, seed=0)
    rng = random.Random(0)
    changed = [str(altered(spec, rng)) for spec in pool.specs for _ in range(4)]
    ids, last = read_questions(tokenizer, [*CAPTIONS, *changed])
    images = pool.images(torch.tensor([0, 1, *[0] * 4, *[1] * 4]))
    yes, no = tokenizer.convert_tokens_to_ids(["Yes", "No"])
    with torch.no_grad():
        logits = answers(model, images, ids, last)
    odds = logits[:, yes] - logits[:, no]
    assert odds[:2].mean() > odds[2:].mean() + 0.5
    assert torch.isin(logits.argmax(1), torch.tensor([yes, no])).all()

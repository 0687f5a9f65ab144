"""The language of the emoji world: what it says, it understands; what is held out is never shown."""

from __future__ import annotations

import itertools
import random

import pytest

from kedge.worlds.emoji.atlas import ANIMAL_NAMES
from kedge.worlds.emoji.captions import (
    ACTIVITIES,
    BACKGROUNDS,
    POSITIONS,
    CaptionError,
    Spec,
    activity_prompts,
    held_out_prompts,
    parse,
    sample_training_spec,
    train_prompts,
)

EVERY_PROMPT = [*train_prompts(), *held_out_prompts(10_000), *activity_prompts(), *ANIMAL_NAMES]
TRAINING = [sample_training_spec(random.Random(seed)) for seed in range(20_000)]


def test_every_prompt_is_understood_and_said_again() -> None:
    assert [str(parse(prompt)) for prompt in EVERY_PROMPT] == EVERY_PROMPT


def test_every_meaning_is_said_and_understood_again() -> None:
    free = (None, *BACKGROUNDS)
    one = [Spec((name,), background=ground) for name in ANIMAL_NAMES for ground in free]
    placed = [Spec((name,), position=p, background=g) for name in ANIMAL_NAMES for p in POSITIONS for g in free]
    acting = [Spec((name,), activity=a, background=g) for name in ANIMAL_NAMES for a in ACTIVITIES for g in free]
    pairs = [Spec(pair) for pair in itertools.product(ANIMAL_NAMES, repeat=2)]
    bare = [Spec((name,), bare=True) for name in ANIMAL_NAMES]
    for spec in (*one, *placed, *acting, *pairs, *bare):
        assert parse(str(spec)) == spec


def test_articles_plurals_and_careless_writing() -> None:
    assert str(Spec(("ant",))) == "an ant"
    assert str(Spec(("mouse", "mouse"), background="at night")) == "two mice at night"
    assert parse("  Two  WOLVES in the snow. ") == parse("two wolves in the snow")
    assert parse("the cat") == parse("one cat") == parse("a cat")


def test_held_out_combinations_never_occur_in_training() -> None:
    held_out = held_out_prompts(10_000)
    assert len(set(held_out)) == len(held_out) > 500
    assert not set(held_out) & set(train_prompts())
    assert not set(held_out) & {str(spec) for spec in TRAINING}
    assert not any(spec.held_out for spec in TRAINING)
    assert not {str(spec) for spec in TRAINING} & set(activity_prompts(held_out=True))


def test_every_word_is_seen_in_training() -> None:
    seen = {word for spec in TRAINING for word in str(spec).split()}
    said = {
        word for prompt in (*held_out_prompts(10_000), *activity_prompts(), *ANIMAL_NAMES) for word in prompt.split()
    }
    assert said <= seen


def test_activities_are_rare_in_training_and_half_the_animals_never_act() -> None:
    acting = [spec for spec in TRAINING if spec.activity]
    assert 0.003 < len(acting) / len(TRAINING) < 0.05
    assert {spec.activity for spec in acting} == set(ACTIVITIES)
    assert len(activity_prompts()) == 45 * 3
    assert sorted(activity_prompts(held_out=True) + activity_prompts(held_out=False)) == sorted(activity_prompts())


def test_lists_are_the_same_every_time_and_single_animals_come_first_up_to_half() -> None:
    assert train_prompts() == train_prompts()
    held_out = held_out_prompts(500)
    assert held_out == held_out_prompts(500)
    assert len(held_out) == 500
    single = [sum(len(parse(p).animals) == 1 for p in held_out_prompts(count)) for count in (100, 500, 10_000)]
    assert single[0] == 50
    assert single[1] == single[2] <= 250, "all there are"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("two foxs in the snow", "no animal 'foxs'. Did you mean 'foxes'"),
        ("a zebar", "Did you mean 'zebra'"),
        ("a cat and a dog on the left", "'on the left' goes with one animal"),
        ("two cats playing chess", "'playing chess' goes with one animal"),
        ("a cat on the left playing chess", "say either 'on the left' or 'playing chess'"),
        ("seven cats", "cannot draw 'seven cats'"),
        ("a cat in the rain", "Backgrounds: in the snow, at sunset"),
        ("", "cannot draw ''"),
    ],
)
def test_errors_name_the_words_and_what_would_do_instead(prompt: str, message: str) -> None:
    with pytest.raises(CaptionError) as error:
        parse(prompt)
    assert message in str(error.value)
    assert repr(prompt) in str(error.value)

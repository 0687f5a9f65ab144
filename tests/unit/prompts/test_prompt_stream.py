"""The order of prompts: laws that hold for any number of prompts, processes and seeds."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.prompts import PromptError, PromptStream

SIZES = st.integers(1, 12)
SEEDS = st.integers(0, 100)


def names(count: int) -> list[str]:
    return [f"prompt {i}" for i in range(count)]


@given(SIZES, SEEDS, st.integers(0, 40), st.integers(0, 40))
def test_a_resumed_stream_goes_on_where_it_was(count, seed, before, after):
    stream = PromptStream(names(count), seed)
    stream.take(before)
    state, rest = stream.state_dict(), stream.take(after)
    again = PromptStream(names(count), seed)
    again.load_state_dict(state)
    assert again.take(after) == rest


@given(SIZES, SEEDS, st.lists(st.integers(0, 7), max_size=6))
def test_the_order_does_not_depend_on_how_many_are_taken_at_once(count, seed, portions):
    stream = PromptStream(names(count), seed)
    pieces = [prompt for n in portions for prompt in stream.take(n)]
    assert pieces == PromptStream(names(count), seed).take(sum(portions))


@given(SIZES, SEEDS, st.integers(1, 4))
def test_every_pass_holds_each_prompt_once(count, seed, passes):
    taken = PromptStream(names(count), seed).take(passes * count)
    for i in range(passes):
        assert Counter(taken[i * count : (i + 1) * count]) == Counter(names(count))


@given(SIZES, SEEDS, st.integers(1, 4), st.integers(0, 9))
def test_processes_share_one_order(count, seed, world, each):
    streams = [PromptStream(names(count), seed, rank=rank, world_size=world) for rank in range(world)]
    parts = [stream.take(each) for stream in streams]
    together = [parts[i % world][i // world] for i in range(world * each)]
    assert together == PromptStream(names(count), seed).take(world * each)


def test_shuffling_can_be_turned_off():
    assert PromptStream(names(3), shuffle=False).take(7) == [*names(3), *names(3), "prompt 0"]


def test_orders_differ_between_passes_and_seeds():
    stream = PromptStream(names(20), 0)
    first, second = stream.take(20), stream.take(20)
    assert first != second
    assert first != PromptStream(names(20), 1).take(20)


def test_a_position_in_other_prompts_is_refused():
    state = PromptStream(names(3), 0).state_dict()
    with pytest.raises(PromptError, match="resume with the same prompts"):
        PromptStream(names(4), 0).load_state_dict(state)
    with pytest.raises(PromptError, match="resume with the same prompts"):
        PromptStream(names(3), 1).load_state_dict(state)
    with pytest.raises(PromptError, match="no prompts"):
        PromptStream([])

"""Advantages against plain numpy, across processes and through resume."""

from __future__ import annotations

import io
from collections import defaultdict, deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.two_processes import in_two_processes
from kedge.algorithms.advantages import Advantages, standardise, standardise_running, zero_share

PROMPTS = ["cat", "dog", "a fox riding a bike", "a fox riding a bike, at night"]


class Tracker:
    """The definition, as plainly as possible: a deque for each prompt, filled before it is asked."""

    def __init__(self, size: int, minimum: int):
        self.minimum, self.buffers = minimum, defaultdict(lambda: deque(maxlen=size))

    def __call__(self, prompts, rewards):
        for prompt in dict.fromkeys(prompts):
            self.buffers[prompt].extend(r for p, r in zip(prompts, rewards, strict=True) if p == prompt)
        result = []
        for prompt, reward in zip(prompts, rewards, strict=True):
            enough = len(self.buffers[prompt]) >= max(2, self.minimum)  # one reward says nothing about itself
            data = np.array(self.buffers[prompt] if enough else rewards)
            result.append((reward - data.mean()) / (data.std() + 1e-6))
        return np.array(result)


def context(gather=lambda items: items, process=0):
    return SimpleNamespace(gather=gather, process=process, state={})


def batches(count: int, size: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        prompts = [PROMPTS[i] for i in rng.integers(0, len(PROMPTS), size)]
        means = np.array([10.0 * PROMPTS.index(p) for p in prompts])
        yield prompts, torch.tensor(means + rng.normal(size=size), dtype=torch.float32)


@pytest.mark.parametrize(("buffer_size", "min_count"), [(16, 16), (8, 3), (32, 1)])
def test_running_statistics_of_each_prompt_against_numpy(buffer_size, min_count):
    ours, plain = Advantages("prompt", buffer_size, min_count, clip=None), Tracker(buffer_size, min_count)
    ctx = context()
    for prompts, rewards in batches(20, 12):
        expected = plain(prompts, rewards.double().numpy())
        np.testing.assert_allclose(ours(ctx, prompts, rewards).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_long_prompts_that_start_alike_are_kept_apart():
    start = "a very long prompt " * 40
    buffers = standardise_running(
        np.array([0.0, 100.0]), [start + "one", start + "two"], {}, buffer_size=4, min_count=1
    )[1]
    assert buffers == {start + "one": [0.0], start + "two": [100.0]}


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_standardised_rewards_have_mean_zero_and_at_most_unit_spread(rewards):
    result = standardise(np.array(rewards))
    assert abs(result.mean()) < 1e-6 * max(1.0, np.abs(result).max())
    assert result.std() <= 1 + 1e-9


def test_equal_rewards_have_no_advantage():
    ctx = context()
    for scope in ("prompt", "run", "batch"):
        assert Advantages(scope)(ctx, ["cat"] * 20, torch.full((20,), 0.3)).abs().max() < 1e-6


def test_a_reward_is_never_compared_with_itself_alone():
    """With min_count = 1 the first reward of a prompt used to be average by construction."""
    advantages = Advantages("prompt", 16, 1)(context(), ["cat", "dog"], torch.tensor([0.0, 1.0]))
    assert advantages.tolist() == pytest.approx([-1, 1], abs=1e-5)


def test_the_share_without_an_advantage():
    share = zero_share(torch.tensor([0.0, 1e-9, -0.5, 2.0]))
    assert share.tolist() == [1, 1, 0, 0]


def test_scopes_differ_as_they_should():
    """A difference between prompts counts for the run and the batch, never for the prompt."""
    prompts, rewards = ["cat", "cat", "dog", "dog"] * 8, torch.tensor([0.0, 1.0, 10.0, 11.0] * 8)
    by = {
        s: Advantages(s, 16, 16)(context(), prompts, rewards)[:4].tolist() for s in ("prompt", "run", "batch", "none")
    }
    assert by["prompt"] == pytest.approx([-1, 1, -1, 1], abs=1e-5)
    assert by["batch"] == pytest.approx([-1.0945, -0.8955, 0.8955, 1.0945], abs=1e-3)
    assert by["run"] == pytest.approx(by["batch"], abs=1e-5)
    assert by["none"] == [0, 1, 10, 10]  # the last by the clip


def test_the_clip():
    advantages = Advantages("none", clip=2.0)(context(), ["cat"] * 4, torch.tensor([-5.0, -2.0, 1.0, 7.0]))
    assert advantages.tolist() == [-2, -2, 1, 2]


def test_a_resumed_run_continues_as_if_nothing_had_happened():
    ours, straight, resumed = Advantages("prompt", 8, 3), context(), context()
    for number, (prompts, rewards) in enumerate(batches(10, 9)):
        if number == 5:
            buffer = io.BytesIO()
            torch.save(resumed.state, buffer)
            buffer.seek(0)
            resumed = context()
            resumed.state = torch.load(buffer, weights_only=True)  # plain data only
        assert torch.equal(ours(straight, prompts, rewards), ours(resumed, prompts, rewards))
    assert straight.state == resumed.state


def _half(rank: int, gather):
    ctx, ours, own = context(gather, rank), Advantages("prompt", 8, 3), []
    for prompts, rewards in batches(10, 12):
        half = slice(6 * rank, 6 * rank + 6)
        own.append(ours(ctx, prompts[half], rewards[half]).tolist())
    return own, ctx.state


def test_two_processes_share_their_statistics(tmp_path):
    """Each has half of every batch; together they do exactly what one process does."""
    (first, state), (second, other_state) = in_two_processes(_half, tmp_path)
    ctx, ours = context(), Advantages("prompt", 8, 3)
    alone = [ours(ctx, prompts, rewards).tolist() for prompts, rewards in batches(10, 12)]
    assert [a + b for a, b in zip(first, second, strict=True)] == alone
    assert state == other_state == ctx.state

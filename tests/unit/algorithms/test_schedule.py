"""The plan of visits: everything once, in the right optimizer step, in micro-batches that fit."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.algorithms.schedule import schedule, with_last_step


def plan(samples=12, steps=(8, 7, 6, 5, 4, 3, 2), seed=0, **others):
    return schedule(samples, steps, 4, torch.Generator().manual_seed(seed), **others)


def visits(updates):
    return Counter((int(row), visit.k) for update in updates for visit in update for row in visit.rows)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 8), st.integers(1, 4), st.integers(1, 3), st.floats(0.05, 1.0))
def test_every_sample_gets_its_share_of_steps_once_in_each_epoch(samples, n_steps, minibatches, epochs, fraction):
    steps = list(range(n_steps + 1, 1, -1))
    updates = plan(samples, steps, minibatches=minibatches, epochs=epochs, step_fraction=fraction)
    seen = visits(updates)
    count = max(1, round(fraction * n_steps))
    of_each = Counter(row for (row, _), times in seen.items() for _ in range(times))
    assert of_each == {row: count * epochs for row in range(samples)}
    if count == n_steps:
        assert set(seen.values()) == {epochs}
    for update in updates:
        assert sum(visit.share for visit in update) == pytest.approx(1)
        assert all(1 <= len(visit.rows) <= 4 for visit in update)


def test_minibatches_are_disjoint_within_an_epoch():
    first, second, third = plan(minibatches=3)
    rows = [set(visits([update])) for update in (first, second, third)]
    assert [len(each) for each in rows] == [4 * 7] * 3
    assert len(set.union(*rows)) == 12 * 7


def test_steps_are_drawn_independently_for_each_sample_and_epoch():
    first, second = plan(samples=200, step_fraction=2 / 7, epochs=2)
    by_sample = Counter(k for (row, k) in visits([first]))
    assert min(by_sample.values()) > 200 * 2 / 7 * 0.6  # every step gets its part
    assert visits([first]) != visits([second])


def test_the_seed_decides():
    assert visits(plan(step_fraction=0.5)) == visits(plan(step_fraction=0.5))
    assert visits(plan(step_fraction=0.5)) != visits(plan(step_fraction=0.5, seed=1))


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_the_last_step_is_added_to_what_was_planned(fraction):
    generator = torch.Generator().manual_seed(0)
    (update,) = schedule(10, [4, 3, 2], 4, generator, step_fraction=2 / 3)
    more = with_last_step(update, 4, fraction, generator)
    assert [(visit.k, visit.rows.tolist()) for visit in more[: len(update)]] == [
        (visit.k, visit.rows.tolist()) for visit in update
    ]
    last = torch.cat([visit.rows for visit in more if visit.k == 1])
    assert len(last) == len(last.unique()) == round(10 * fraction)
    assert sum(visit.share for visit in more) == pytest.approx(1)
    assert len({visit.share / len(visit.rows) for visit in more}) == 1

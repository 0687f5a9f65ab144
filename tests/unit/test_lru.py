"""The values used last stay, as many as fit."""

from __future__ import annotations

import random
from functools import partial
from unittest.mock import Mock

import pytest

from kedge.lru import Lru


def test_a_value_is_made_once() -> None:
    memory: Lru[str] = Lru(2)
    calls: list[str] = []

    def upper(name: str) -> str:
        calls.append(name)
        return name.upper()

    assert [memory.get(name, partial(upper, name)) for name in "abaca"] == list("ABACA")
    assert calls == ["a", "b", "c"]
    assert memory.get("b", partial(upper, "b")) == "B"  # forgotten for c: a was used in between
    assert calls == ["a", "b", "c", "b"]


def test_it_keeps_the_longest_run_of_recent_values_that_fits() -> None:
    draw = random.Random(0)
    limit, memory = 20, Lru[int](20, measure=lambda value: value)
    sizes = {str(name): draw.randint(1, 25) for name in range(12)}
    recent: list[str] = []
    for _ in range(500):
        name = draw.choice(list(sizes))
        make = Mock(return_value=sizes[name])
        assert memory.get(name, make) == sizes[name]
        assert make.called is (name not in recent)
        recent = [*(other for other in recent if other != name), name]
        while sum(sizes[other] for other in recent) > limit and len(recent) > 1:
            del recent[0]
        assert (len(memory), memory.size) == (len(recent), sum(sizes[other] for other in recent))


def test_a_value_that_could_not_be_made_is_not_kept() -> None:
    memory: Lru[int] = Lru(2)
    with pytest.raises(ZeroDivisionError):
        memory.get("x", lambda: 1 // 0)
    assert (len(memory), memory.size) == (0, 0)
    assert memory.get("x", lambda: 1) == 1

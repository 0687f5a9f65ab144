"""What is computed for many cards: the exchange by hand, and the page says that nothing was measured."""

from __future__ import annotations

import pytest
from bench.scaling import CARDS, NETWORK, NVLINK, PICTURES, Counted, exchange_seconds, exchanged, page, step_seconds

PICTURE = Counted("a model", "a-recipe", passes=29, tflop=31.8, seconds=0.1, memory=20e9, gradients=12_800_000)


def test_one_card_exchanges_nothing_and_many_send_nearly_twice_the_gradients() -> None:
    assert exchanged(100.0, 1) == 0
    assert exchanged(100.0, 2) == 100  # each sends its half, then the other's sum
    assert exchanged(100.0, 64) == pytest.approx(196.875)
    assert exchange_seconds(NVLINK, 8) == pytest.approx(2 * 7 / 8)
    assert exchange_seconds(NETWORK, 16) == pytest.approx(2 * 15 / 16)


def test_cards_share_the_pictures() -> None:
    assert step_seconds(PICTURE, 1) == pytest.approx(PICTURES * 0.1)
    for cards in CARDS[1:]:
        alone = PICTURES / cards * 0.1
        assert step_seconds(PICTURE, cards) == pytest.approx(alone + exchange_seconds(12_800_000, cards))


def test_the_page_says_that_it_is_computed() -> None:
    text = page([PICTURE])
    assert "**Computed, not measured.**" in text
    assert "| a model | `a-recipe` | 29 | 31.8 | 0.1 | 20.0 | 12.8 |" in text
    assert "64 cards" in text

"""What is computed for many cards: the exchange by hand, and the page says that nothing was measured."""

from __future__ import annotations

import pytest
from bench.scaling import (
    CARDS,
    MODELS,
    NETWORK,
    NVLINK,
    PAGE,
    PICTURES,
    Counted,
    counted,
    exchange_seconds,
    exchanged,
    page,
    recipe,
    step_seconds,
)

from kedge.planning.datasheet import H100, REACHED

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


def printed() -> dict[str, list[list[float]]]:
    """Model → the numbers of its row in each of the page's two tables, without those in brackets."""
    rows: dict[str, list[list[float]]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if "×" in cells[0]:
            texts = [cell.partition(" (")[0].replace(",", "") for cell in cells[1:] if not cell.startswith("`")]
            rows.setdefault(cells[0], []).append(list(map(float, texts)))
    return rows


def test_what_the_page_prints_for_many_cards_follows_from_one_picture() -> None:
    """A digit that somebody changed is noticed without counting anew; only three digits of a picture are there."""
    rows, most = printed(), 0.0
    assert len(rows) == len(MODELS)
    for (passes, tflop, seconds, memory, gradients), many in rows.values():
        picture = Counted("a model", "", passes, tflop, seconds, memory, gradients=round(1e6 * gradients))
        assert many == pytest.approx([step_seconds(picture, cards) for cards in CARDS], rel=0.005)
        assert tflop * 1e12 / (H100.half * REACHED) < seconds  # no faster than the card, and not all of it arithmetic
        assert tflop > passes  # each pass is a picture of half a million pixels and more
        most = max(most, exchanged(1e6 * gradients, CARDS[-1]))
    assert f"at most {most / 1e6:.0f} MB for a step" in PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_page_is_what_is_counted() -> None:
    pictures = [counted(name, recipe(name)) for name in MODELS]
    assert PAGE.read_text(encoding="utf-8") == page(pictures)

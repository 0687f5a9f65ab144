"""Softening: a Gaussian, to the rounding of float32, and without numbers that slow a processor down."""

from __future__ import annotations

import torch

from kedge.worlds.emoji.scenes import SIDE
from kedge.worlds.emoji.templates import SOFTNESS, soften


def lit(row: int, column: int) -> torch.Tensor:
    picture = torch.zeros(SIDE, SIDE)
    picture[row, column] = 1
    return picture


def test_it_is_a_gaussian() -> None:
    row, column = SIDE // 3, SIDE // 2
    steps = torch.arange(SIDE, dtype=torch.float64)
    squares = (steps[:, None] - row).square() + (steps - column).square()
    gaussian = torch.exp(-squares / (2 * SOFTNESS**2)) / (2 * torch.pi * SOFTNESS**2)
    # Sampled at whole pixels, a Gaussian this narrow does not add up to quite one: hence the tolerance.
    torch.testing.assert_close(soften(lit(row, column)).double(), gaussian, rtol=1e-4, atol=1e-12)


def test_what_it_yields_and_products_of_it_are_no_denormal_numbers() -> None:
    """With those, a product of matrices takes a hundred times as long, and the oracle two thirds longer."""
    soft = soften(lit(SIDE // 3, SIDE // 2))
    for values in (soft, soften(soft), soft.square()):
        smallest = values[values != 0].abs().min()
        assert smallest >= torch.finfo(torch.float32).smallest_normal

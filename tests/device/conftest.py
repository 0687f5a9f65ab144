"""Which device the tests of this folder run on: a GPU, or what ``KEDGE_TEST_DEVICE`` names."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where to compute, besides the CPU."""
    return torch.device(os.environ.get("KEDGE_TEST_DEVICE", "cuda"))


@pytest.fixture(scope="session")
def close(device: torch.device):
    """Asserts that what was computed there is what the CPU finds (its attention, at least, is another)."""
    tolerance = {"rtol": 1e-2, "atol": 1e-3} if device.type == "cuda" else {"rtol": 1e-4, "atol": 1e-5}

    def check(there, cpu) -> None:
        torch.testing.assert_close(there, cpu, **tolerance, equal_nan=True)

    return check

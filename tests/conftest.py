"""Makes ``helpers`` importable from every test, and offers the micro models."""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kedge.policies.families import FAMILIES

if TYPE_CHECKING:
    from helpers.family_models import Builder


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collection before each training need not look through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def one_seed() -> None:
    """Whatever a test draws without a seed of its own is the same in every run, alone or after others."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def plans_time_briefly() -> None:
    """A plan times a step's operations, for three seconds at most: here for a moment, on a small cache."""
    from kedge.planning import timing

    timing.LONGEST, timing.REPEATS, timing.CACHE = 0.1, 2, 2**20


@pytest.fixture(scope="session")
def micro_lcm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random-weight latent consistency model: 64-pixel images, 8×8 latents."""
    from helpers.micro_models import save_micro_lcm

    return save_micro_lcm(tmp_path_factory.mktemp("models") / "micro-lcm")


@pytest.fixture(scope="session")
def micro_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random-weight Stable Diffusion of the same size."""
    from helpers.micro_models import save_micro_diffusion

    return save_micro_diffusion(tmp_path_factory.mktemp("models") / "micro-diffusion")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Builds the tiny model of a family when it is first asked for; every test has the same, so none writes into it."""
    from helpers.family_models import build

    folder = tmp_path_factory.mktemp("families")
    return lambda name: build(name, folder)


@pytest.fixture
def families_as_they_are() -> Iterator[None]:
    """A test may register families of its own: afterwards there are those that ship."""
    before = dict(FAMILIES)
    yield
    FAMILIES.clear()
    FAMILIES.update(before)

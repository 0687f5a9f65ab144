"""What time_to_reward tries: settings that make a step cheaper or steadier, as changes to a preset."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

TODAY = "today"  # the preset as it is
BEFORE = "as in version 0.1.0"  # emoji-rocm before anybody asked what is fastest
DEPTHS: dict[str, dict[str, Any]] = {
    "last 1": {"backprop.last_steps": 1},
    "last 2": {"backprop.last_steps": 2},
    "last 4": {"backprop.last_steps": 4},
    "all": {},
    "random 0.5": {"backprop.random_depth": 0.5},
}
REFERENCES: dict[str, dict[str, Any]] = {
    "all": {},
    "1": {"algorithm.reference_steps": 1},
    "2": {"algorithm.reference_steps": 2},
    "detached": {"algorithm.reference_gradient": "detached"},
}
STEPS = (2, 4, 8)
BATCHES = (4, 8, 16)
RATES = (7.5e-4, 1.5e-3, 3e-3, 6e-3)  # around the preset's
CLIPS = (0.3, 1.0, 3.0)
DIMENSIONS = (DEPTHS, REFERENCES, STEPS, BATCHES, RATES, CLIPS)
ENDLESS = 100_000  # optimizer steps: time ends a candidate's training


@dataclass(frozen=True)
class Candidate:
    """One setting.

    Attributes:
        name: for tables and folders.
        changes: dotted keys of a recipe and their values.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def overrides(self) -> list[str]:
        """As the command takes them."""
        return [f"{key}={'null' if value is None else value}" for key, value in self.changes.items()]


def today() -> Candidate:
    """The preset as it is, with its own schedule and end."""
    return Candidate(TODAY)


def before() -> Candidate:
    """``emoji-rocm`` of version 0.1.0: eight steps, a third of today's rate, β 0.01 in PickScore's numbers."""
    changes = {
        "model.steps": 8,
        "optimizer.lr": 5e-4,
        "training.steps": 80,
        "algorithm.beta": 6.25e-3,
        "algorithm.beta_unit": 1.6,
    }
    return Candidate(BEFORE, changes)


def candidates(seed: int) -> Iterator[Candidate]:
    """Settings drawn evenly and without repetition; those that come to the same training are one."""
    drawn, generator = set[tuple[Any, ...]](), random.Random(seed)
    most = 1
    for dimension in DIMENSIONS:
        most *= len(dimension)
    for _ in range(20 * most):
        choice = canonical(*(generator.choice(list(dimension)) for dimension in DIMENSIONS))
        if choice not in drawn:
            drawn.add(choice)
            yield candidate(*choice)


def canonical(
    depth: str, reference: str, steps: int, batch: int, rate: float, clip: float
) -> tuple[str, str, int, int, float, float]:
    """The same training under one name: depths and terms beyond the number of sampling steps are all of them."""
    if depth.startswith("last") and int(depth.split()[1]) >= steps:
        depth = "all"
    if reference.isdigit() and int(reference) >= steps - 1:
        reference = "all"
    if depth == "last 1" and reference == "detached":
        reference = "all"  # nothing flows back to x_k there
    return depth, reference, steps, batch, rate, clip


def candidate(depth: str, reference: str, steps: int, batch: int, rate: float, clip: float) -> Candidate:
    """The setting with its name."""
    changes = {
        **DEPTHS[depth],
        **REFERENCES[reference],
        "model.steps": steps,
        "training.batch_size": batch,
        "optimizer.lr": rate,
        "optimizer.clip": clip,
        "optimizer.schedule": "constant",
        "training.steps": ENDLESS,
    }
    name = f"depth {depth}, terms {reference}, K {steps}, batch {batch}, lr {rate:g}, clip {clip:g}"
    return Candidate(name, changes)

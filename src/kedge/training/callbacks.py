"""What may watch a run, and what it gets to see."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from kedge.policies.base import Policy


@dataclass(frozen=True)
class Watched:
    """A run as a callback sees it.

    Attributes:
        policy: the generator being trained.
        averaged: inside, its weights are those to show: the EMA, if the run keeps one.
        image: sends a picture ``[3, H, W]`` in [0, 1] to the loggers, under a name.
        say: tells the user one line.
        stop: ends the run after this batch, with a reason.
    """

    policy: Policy
    averaged: Callable[[], AbstractContextManager[None]]
    image: Callable[[str, Tensor], None]
    say: Callable[[str], None]
    stop: Callable[[str], None]


class Callback(Protocol):
    """Called by the first process after every optimizer step, and once before the first with step 0.

    It must leave the training's random streams alone: draw from generators of its own.
    """

    name: str

    def __call__(self, step: int, run: Watched) -> dict[str, float]:
        """Look; return numbers for the log."""

    def state_dict(self) -> dict[str, Any]:
        """What to keep across an interruption: tensors and plain data."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what was kept."""


def due(step: int, every: int) -> bool:
    """Whether something that happens every so many steps (0: never), from step 0 on, happens at this one."""
    return every > 0 and step % every == 0

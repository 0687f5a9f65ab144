"""How far a whole matrix is, and how long it will take: from what the run folders say and a clock."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

from kedge.units import duration

if TYPE_CHECKING:
    from kedge.training.callbacks import Watched
    from kedge.workflows.runner.cell import State
    from kedge.workflows.runner.runs import Run

EVERY = 60.0  # seconds between two lines during a run


class Work(Protocol):
    """Runs, and how far each of them is."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """All of them."""

    def passes(self, run: Run) -> float:
        """What a run's training costs."""

    def done(self, run: Run) -> float:
        """How much of that it has behind it."""

    def counts(self) -> Counter[State]:
        """How many are in each state."""


class Clock:
    """Work done since it was made, and the time that it took."""

    def __init__(self, matrix: Work):
        self.matrix, self.began = matrix, time.monotonic()
        self.total = sum(map(matrix.passes, matrix.runs))
        self.first = self._done()

    def _done(self) -> float:
        return sum(map(self.matrix.done, self.matrix.runs))

    def line(self) -> str:
        """``runs 3 of 36 · 9 % of the training · 1 diverged · about 41 min left``."""
        counts, done, elapsed = self.matrix.counts(), self._done(), time.monotonic() - self.began
        over = sum(counts[name] for name in ("finished", "stopped", "diverged"))
        parts = [f"runs {over} of {len(self.matrix.runs)}"]
        if self.total:
            parts.append(f"{100 * done / self.total:.0f} % of the training")
        for name in ("diverged", "stopped", "failed"):
            if counts[name]:
                parts.append(f"{counts[name]} {name}")
        if done > self.first and done < self.total:
            parts.append(f"about {duration((self.total - done) * elapsed / (done - self.first))} left")
        return " · ".join(parts)


class Watcher:
    """A callback of the trainer that says now and then how far the matrix is."""

    name = "matrix"

    def __init__(self, clock: Clock):
        self.clock, self.last = clock, time.monotonic()

    def __call__(self, step: int, run: Watched) -> dict[str, float]:
        """Say a line if the last one is long ago."""
        if time.monotonic() - self.last >= EVERY:
            self.last = time.monotonic()
            run.say(self.clock.line())
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take up."""

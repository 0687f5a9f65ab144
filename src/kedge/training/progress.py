"""What the user sees while it trains: one bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from kedge.evaluation.run_log import logged
from kedge.units import duration

SHOWN = ("reward", "divergence")  # from the training step; held-out rewards are added as they come


class Display(Protocol):
    """Shows how far a run is."""

    def start(self, step: int, total: int) -> None:
        """The run begins, or goes on, at ``step``."""

    def update(self, step: int, numbers: Mapping[str, float]) -> None:
        """A step is done, with these numbers."""

    def say(self, text: str) -> None:
        """A line for the user."""

    def close(self) -> None:
        """The run is over."""


class Silent:
    """For the processes that print nothing."""

    def start(self, step: int, total: int) -> None: ...

    def update(self, step: int, numbers: Mapping[str, float]) -> None: ...

    def say(self, text: str) -> None: ...

    def close(self) -> None: ...


class Summary:
    """The few numbers of the progress line, smoothed where they jump, and the most memory that was held."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self._memory = 0.0

    def take(self, numbers: Mapping[str, float]) -> str:
        """Take in a step's numbers; returns for example ``reward 21.3 · divergence 0.012 · held-out 21.1 · 7.2 GB``."""
        for name, value in numbers.items():
            if name in SHOWN:
                self._values[name] = 0.9 * self._values.get(name, value) + 0.1 * value
        for name, value in numbers.items():
            if named := logged(name):
                self._values[named[0].removesuffix(" prompts")] = value
                break
        parts = [f"{name} {value:.4g}" for name, value in self._values.items()]
        self._memory = numbers.get("peak_memory_mb", self._memory)
        if self._memory:
            parts.append(f"{self._memory / 1000:.1f} GB")
        return " · ".join(parts)


class Bar:
    """A rich progress bar."""

    def __init__(self, console: Console):
        self._summary = Summary()
        self._progress = Progress(
            BarColumn(bar_width=12),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[numbers]}", table_column=Column(overflow="fold")),  # the rest, on further lines
            console=console,
        )

    def start(self, step: int, total: int) -> None:
        """Show the bar."""
        self._clock, self._first = time.monotonic(), step
        self._task = self._progress.add_task("", total=total, completed=step, numbers="", left="")
        self._total = total
        self._progress.start()

    def update(self, step: int, numbers: Mapping[str, float]) -> None:
        """Move it."""
        done, elapsed = step - self._first, time.monotonic() - self._clock
        texts = filter(None, (self._summary.take(numbers), _pace(done, elapsed)))
        left = _left(done, self._total - step, elapsed)
        self._progress.update(self._task, completed=step, numbers=" · ".join(texts), left=left)

    def say(self, text: str) -> None:
        """Print above the bar."""
        self._progress.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._progress.stop()


class Lines:
    """A line now and then, for logs: at most every ``seconds``, and for every evaluation."""

    def __init__(self, out: TextIO, seconds: float = 10.0):
        self._out, self._seconds = out, seconds
        self._summary = Summary()

    def start(self, step: int, total: int) -> None:
        """Remember the clock."""
        self._clock = time.monotonic()
        self._first, self._total, self._last = step, total, -self._seconds

    def update(self, step: int, numbers: Mapping[str, float]) -> None:
        """Print if it is time."""
        text, elapsed = self._summary.take(numbers), time.monotonic() - self._clock
        news = any(map(logged, numbers)) or step == self._total
        if not news and elapsed - self._last < self._seconds:
            return
        self._last = elapsed
        done = step - self._first
        left = _left(done, self._total - step, elapsed)
        self.say(" · ".join(filter(None, (f"step {step}/{self._total}", text, _pace(done, elapsed), left))))

    def say(self, text: str) -> None:
        """Print."""
        print(text, file=self._out, flush=True)

    def close(self) -> None:
        """Nothing to close."""


def display(out: TextIO | None = None) -> Display:
    """A bar if ``out`` (standard error) is a terminal, else lines."""
    out = out or sys.stderr
    return Bar(Console(file=out)) if out.isatty() else Lines(out)


def _left(done: int, to_do: int, seconds: float) -> str:
    """``1 d 8 h left``, at the pace so far."""
    return f"{duration(to_do * seconds / done)} left" if done and to_do > 0 else ""


def _pace(steps: int, seconds: float) -> str:
    if not steps or seconds <= 0:
        return ""
    pace = steps / seconds
    return f"{pace:.2f} steps/s" if pace >= 0.1 else f"{1 / pace:.0f} s/step"

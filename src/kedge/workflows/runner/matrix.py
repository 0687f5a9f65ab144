"""A matrix of runs, each in a folder of its own: finished ones are never repeated, partial ones go on.

Everything that it knows is in the run folders, so that it can be killed at any moment and started again, by several
processes at once if need be.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kedge.files import locked
from kedge.workflows.runner.cell import FAILURE, Interrupted, State, ending, perform, read_json, state, steps_done
from kedge.workflows.runner.cost import step_cost
from kedge.workflows.runner.progress import Clock, Watcher
from kedge.workflows.runner.runs import Run, check_same

Say = Callable[[str], None]
OVER: tuple[State, ...] = ("finished", "stopped", "diverged")
POLL = 2.0


@dataclass(frozen=True)
class Matrix:
    """Runs and the folder that holds theirs.

    Attributes:
        runs: their names differ.
        folder: each run's home is ``folder/NAME``.
    """

    runs: tuple[Run, ...]
    folder: Path

    def __post_init__(self) -> None:
        names = set()
        for run in self.runs:
            if run.name in names:
                raise ValueError(f"two runs of the matrix are called {run.name!r}")
            names.add(run.name)

    def home(self, run: Run) -> Path:
        """A run's folder."""
        return self.folder / run.name

    def state(self, run: Run) -> State:
        """How far a run is."""
        return state(run, self.home(run))

    def find(self, name: str) -> Run:
        """The run called ``name``.

        Raises:
            ValueError: with the nearest name.
        """
        from kedge.registry import suggest

        by_name = {run.name: run for run in self.runs}
        if name not in by_name:
            raise ValueError(f"no run {name!r} in this matrix.{suggest(name, by_name)} --list prints them all")
        return by_name[name]

    def passes(self, run: Run) -> float:
        """What a run's training costs, in network passes."""
        config = run.config()
        steps = config.training.steps if run.until is None else min(run.until, config.training.steps)
        return step_cost(config).passes * steps if run.train else 0.0

    def done(self, run: Run) -> float:
        """Network passes that its training has behind it."""
        if not run.train:
            return 0.0
        if self.state(run) in OVER or ending(self.home(run)):
            return self.passes(run)
        return step_cost(run.config()).passes * steps_done(self.home(run))

    def counts(self) -> Counter[State]:
        """How many runs are in each state."""
        return Counter(map(self.state, self.runs))

    def left(self) -> list[Run]:
        """The runs that are not over."""
        waiting = []
        for run in self.runs:
            if self.state(run) not in OVER:
                waiting.append(run)
        return waiting

    def check(self) -> None:
        """Refuse folders that hold other runs under the same names."""
        for run in self.runs:
            check_same(run, self.home(run))

    def go(self, say: Say = print) -> None:
        """Do what is left, one run after the other, in this process.

        A run that diverges or fails does not stop the others.

        Raises:
            ConfigError: a folder holds another run under one of the names.
            Interrupted: by a signal.
        """
        self.check()
        waiting, clock = self.left(), Clock(self)
        while waiting:
            busy = []
            for run in waiting:
                say(f"{clock.line()} · now {run.name}")
                with locked(self.folder / ".locks" / run.name) as ours:
                    if not ours:
                        busy.append(run)
                        continue
                    ended = perform(run, self.home(run), [Watcher(clock)])
                if ended not in ("finished",):
                    say(f"{run.name}: {ended}. {self.reason(run)}")
            if busy:
                say(f"{len(busy)} runs are in the hands of other processes; waiting for them")
                time.sleep(POLL)
            waiting = []
            for run in busy:
                if self.state(run) not in OVER:
                    waiting.append(run)
        say(clock.line())

    def spread(self, jobs: int, command: Callable[[Run], Sequence[str]], say: Say = print) -> None:
        """Do what is left, ``jobs`` runs at once, each in a process of its own with a log beside the runs.

        Args:
            command: does one run.

        Raises:
            ConfigError: a folder holds another run under one of the names.
            Interrupted: by a signal, once all processes have saved and ended.
        """
        self.check()
        waiting, clock, running = self.left(), Clock(self), dict[str, subprocess.Popen[bytes]]()
        threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    run = waiting.pop(0)
                    running[run.name] = _start(command(run), self.folder / f"{run.name}.log", threads)
                time.sleep(POLL)
                for name in [name for name, process in running.items() if process.poll() is not None]:
                    del running[name]
                    ended = self.state(self.find(name))
                    say(f"{clock.line()} · {name}: {ended}. {self.reason(self.find(name))}".rstrip())
        except KeyboardInterrupt:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait()
            raise Interrupted(f"{len(running)} runs stopped and saved") from None

    def reason(self, run: Run) -> str:
        """Why a run diverged, stopped or failed; empty otherwise."""
        ended, failure = ending(self.home(run)), read_json(self.home(run) / FAILURE)
        return str(failure["message"]) if failure else ended.message if ended else ""


def _start(command: Sequence[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "kedge", *command],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**environment, **os.environ},
            start_new_session=True,  # Ctrl-C is for the parent alone: a second signal would end a run unsaved
        )

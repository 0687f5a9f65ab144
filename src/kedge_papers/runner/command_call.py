"""From a target's name to its files: the runs, then their records, then what is drawn from them."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedge import __version__
from kedge.config import ConfigError
from kedge.workflows.runner.matrix import Matrix, Say
from kedge.workflows.runner.progress import duration
from kedge.workflows.runner.runs import Run
from kedge_papers import TARGETS
from kedge_papers.records.collect import record, this_machine
from kedge_papers.records.records import Result
from kedge_papers.runner.options import Settings
from kedge_papers.runner.target import Target


@dataclass(frozen=True)
class Order:
    """One call of ``kedge reproduce``.

    Attributes:
        name: the target's.
        out: ``runs/`` below it holds the runs of all targets, ``NAME/`` the result.
        options: of the command line, without the target: to name a run as a command.
    """

    name: str
    settings: Settings
    out: Path
    options: Sequence[str] = ()

    @property
    def target(self) -> Target:
        """What is to be made."""
        return TARGETS.get(self.name)

    @property
    def matrix(self) -> Matrix:
        """Its runs."""
        return Matrix(self.target.runs(self.settings), self.out / "runs")

    @property
    def file(self) -> Path:
        """The result's JSON."""
        return self.out / self.name / f"{self.name}.json"

    def command(self, *more: str) -> list[str]:
        """The arguments of ``kedge`` that give this order."""
        return ["reproduce", self.name, *self.options, "--out", str(self.out), *more]

    def commands(self) -> list[str]:
        """Each run as a command, for a cluster's scheduler."""
        return [f"kedge {shlex.join(self.command('--run', run.name))}" for run in self.matrix.runs]

    def estimate(self) -> list[str]:
        """What it will cost, as lines: before anything has run, in network passes; then also in time."""
        matrix = self.matrix
        trained = [run for run in matrix.runs if run.train]
        passes = sum(matrix.passes(run) for run in trained)
        lines = [f"{len(matrix.runs)} runs, {len(trained)} of them trainings: {passes:,.0f} network passes"]
        rate = _passes_per_second(matrix, trained)
        if rate:
            left = passes - sum(matrix.done(run) for run in trained)
            lines.append(f"about {duration(left / rate)} left to train, at {rate:,.0f} passes a second as so far")
        elif trained:
            lines.append("how long a pass takes on this machine shows with the first run; the time left is told then")
        return lines

    def finish(self, say: Say = print) -> list[Path]:
        """Collect the records, do what the target adds, draw."""
        matrix, folder = self.matrix, self.file.parent
        records = tuple(record(matrix, run, folder / "pictures") for run in matrix.runs)
        more = self.target.more
        extra = more(self.settings, matrix, folder) if more else {}
        Result(self.name, self.facts(), records, extra, folder).save(self.file)
        return [self.file, *self.draw()]

    def draw(self) -> list[Path]:
        """Tables and figures from the recorded JSON alone."""
        return self.target.show(self.recorded(), self.file.parent)

    def publish(self, folder: Path) -> list[Path]:
        """Put the recorded result among the pages of ``folder``."""
        from kedge_papers.pages.pages import publish

        return [publish(self.recorded(), folder)]

    def recorded(self) -> Result:
        """What :meth:`finish` wrote down.

        Raises:
            ConfigError: there is nothing.
        """
        if not self.file.is_file():
            raise ConfigError(f"nothing is recorded at {self.file}: first run `kedge {shlex.join(self.command())}`")
        return Result.load(self.file)

    def facts(self) -> dict[str, Any]:
        """What the page says under the table."""
        world = self.settings.world
        return {
            "title": self.target.title,
            "mirrors": self.target.mirrors,
            "command": f"kedge {shlex.join(['reproduce', self.name, *self.options])}",
            "world": self.settings.name,
            "about": world.about,
            "protocol": self.target.protocol or world.protocol,
            "seeds": self.settings.seeds,
            "budget": self.settings.budget,
            "passes": self.settings.passes(),
            "queries": self.settings.queries(),
            "rewards": world.rewards,
            "truth": world.truth,
            "machine": this_machine(),
            "version": __version__,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }


def _passes_per_second(matrix: Matrix, runs: Sequence[Run]) -> float:
    """Measured on what has been trained so far; 0 if nothing has."""
    from kedge.training.loggers import read_log
    from kedge.training.run_folder import RunFolder

    done = sum(matrix.done(run) for run in runs)
    seconds = sum(line.get("seconds") or 0.0 for run in runs for line in read_log(RunFolder(matrix.home(run)).metrics))
    return done / seconds if seconds else 0.0

"""From a target's name to its files: the runs, then their records, then what is drawn from them."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kedge import __version__
from kedge.config import ConfigError
from kedge.units import duration
from kedge.workflows.runner.matrix import Matrix
from kedge.workflows.runner.runs import Run
from kedge_papers import TARGETS
from kedge_papers.pages.exhibit import save_exhibit
from kedge_papers.records.collect import collect, this_machine
from kedge_papers.records.joining import with_recorded
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord
from kedge_papers.records.store import RecordStore
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.runner.world_digest import world_digest


@dataclass(frozen=True)
class CommandCall:
    """One call of ``kedge reproduce``.

    Attributes:
        name: the target's.
        out: ``runs/`` below it holds the runs of all targets, ``records/`` what they have shown,
            ``NAME/`` what is drawn.
        arguments: of the command line, without the target: to name a run as a command.
    """

    name: str
    options: MatrixOptions
    out: Path
    arguments: Sequence[str] = ()

    @property
    def target(self) -> Target:
        """What is to be made."""
        target: Target = TARGETS.get(self.name)
        return target

    @property
    def matrix(self) -> Matrix:
        """Its runs, with those that follow from what has been measured so far."""
        matrix = Matrix(self.target.runs(self.options), self.out / "runs")
        return (
            matrix if self.target.further is None else replace(matrix, runs=self.target.further(self.options, matrix))
        )

    @property
    def store(self) -> RecordStore:
        """The records of everything below ``out``."""
        return RecordStore(self.out / "records")

    def command(self, *more: str) -> list[str]:
        """The arguments of ``kedge`` that make this call."""
        return ["reproduce", self.name, *self.arguments, "--out", str(self.out), *more]

    def commands(self) -> list[str]:
        """Each run as a command, for a cluster's scheduler."""
        commands = []
        for run in self.matrix.runs:
            commands.append(f"kedge {shlex.join(self.command('--run', run.name))}")
        return commands

    def estimate(self) -> list[str]:
        """What it will cost, as lines: before anything has run, in network passes; then also in time."""
        matrix = self.matrix
        trained = []
        for run in matrix.runs:
            if run.train:
                trained.append(run)
        passes = sum(map(matrix.passes, trained))
        lines = [f"{len(matrix.runs)} runs, {len(trained)} of them trainings: {passes:,.0f} network passes"]
        rate = _passes_per_second(matrix, trained)
        if rate:
            left = passes - sum(map(matrix.done, trained))
            lines.append(f"about {duration(left / rate)} left to train, at {rate:,.0f} passes a second as so far")
        elif trained:
            lines.append("how long a pass takes on this machine shows with the first run; the time left is told then")
        return lines

    def finish(self) -> list[Path]:
        """Collect the records, do what the target adds, draw."""
        matrix, more = self.matrix, self.target.more
        records, sheets = list[RunRecord](), dict[str, bytes]()
        for run in matrix.runs:
            record, pictures = collect(matrix, run, self.target.points)
            records.append(record)
            if self.target.pictures:
                sheets |= pictures
        extra = more(self.options, matrix, self.out / self.name) if more else {}
        self.store.put(Result(self.name, self.facts(), tuple(records), extra, sheets))
        return self.draw()

    def draw(self) -> list[Path]:
        """Tables and figures in every format, from the records alone."""
        return save_exhibit(self.target.show(self.recorded()), self.out / self.name, self.name)

    def publish(self, folder: Path) -> list[Path]:
        """Put the recorded result among the records of another folder; :func:`with_recorded` says what stays there."""
        result, runs = self.recorded(), {run.name: run for run in self.matrix.runs}
        RecordStore(folder).update(lambda there: [with_recorded(result, there, runs, print, first_stays=True)])
        return [folder]

    def recorded(self) -> Result:
        """What :meth:`finish` wrote down.

        Raises:
            ConfigError: there is nothing.
        """
        results = self.store.results()
        if self.name not in results:
            raise ConfigError(
                f"nothing is recorded in {self.store.folder}: first run `kedge {shlex.join(self.command())}`"
            )
        return results[self.name]

    def facts(self) -> dict[str, Any]:
        """What the page says under the table."""
        experiments = self.options.experiments
        return {
            "title": self.target.title,
            "mirrors": self.target.mirrors,
            "command": f"kedge {shlex.join(['reproduce', self.name, *self.arguments])}",
            "world": self.options.name,
            "models": world_digest(experiments),
            "about": experiments.about,
            "protocol": self.target.protocol or experiments.protocol,
            "seeds": self.options.seeds,
            "budget": self.options.budget,
            "passes": self.options.passes(),
            "queries": self.options.queries(),
            "rewards": experiments.rewards,
            "truth": experiments.truth,
            "machine": this_machine(),
            "version": __version__,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }


def _passes_per_second(matrix: Matrix, runs: Sequence[Run]) -> float:
    """Measured on what has been trained so far; 0 if nothing has."""
    from kedge.evaluation.run_log import read_log
    from kedge.runs.folder import RunFolder

    done = sum(matrix.done(run) for run in runs)
    seconds = sum(line.get("seconds") or 0.0 for run in runs for line in read_log(RunFolder(matrix.home(run)).metrics))
    return done / seconds if seconds else 0.0

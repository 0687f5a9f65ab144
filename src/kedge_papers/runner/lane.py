"""One worker of a queue: it takes the first run that nobody has in hand, again and again, until nothing is left.

Everything that it knows is in the run folders, so that it can be killed at any moment; several may work at once, each
in a process of its own. What a stage tells later ones (the unit of β, what tuning chose) is read from its runs once
they are over. After each run the records of its target are written anew, partial as they are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from kedge.files import locked, read_json, write_text
from kedge.workflows.runner.cell import perform
from kedge.workflows.runner.matrix import OVER, Matrix, Say
from kedge.workflows.runner.runs import Run, check_same
from kedge_papers.records.collect import collect
from kedge_papers.records.joining import MORE_OF, with_recorded
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord, plain_json
from kedge_papers.records.store import RecordStore
from kedge_papers.runner.command_call import CommandCall
from kedge_papers.runner.experiment_set import ExperimentSet, load_experiment_set
from kedge_papers.runner.frozen import freeze
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.queue import Queue
from kedge_papers.runner.settled import Settings, settled_by, with_settings, write_settings

POLL = 5.0
MORE = "more.json"  # what a target measured beyond its runs, and of which of them
RECORDING = "records"  # a lock


@dataclass(frozen=True)
class Job:
    """Something that is left to do.

    Attributes:
        position: of its stage.
        name: also that of its lock.
        do: does it; returns why it did not come to its end, or nothing.
    """

    position: int
    name: str
    do: Callable[[], str]


@dataclass
class Lane:
    """A queue, and the folder that holds its runs.

    Attributes:
        out: holds ``runs/``, ``records/`` and a folder for each target, as of ``kedge reproduce``.
        overrides: on every training.
    """

    queue: Queue
    out: Path
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.experiments = load_experiment_set(self.queue.experiments)
        self._settings: dict[int, Settings] = {}  # of stages that are over
        self._known: dict[int, tuple[CommandCall, tuple[Run, ...]]] = {}  # of stages that wait for nothing
        self._over = set[int]()

    def go(self, say: Say = print) -> list[str]:
        """Do what is left; returns the names of what did not come to its end.

        Raises:
            ConfigError: a folder holds another run under one of the names, or the runs of another world.
            Interrupted: by a signal, once everything is saved.
        """
        for line in freeze(self.out, self.experiments):
            say(line)
        failed: list[str] = []
        while True:
            took, busy = self._turn(failed, say)
            if not took and not busy:
                break
            if not took:
                time.sleep(POLL)
        for target in self.queue.targets:
            self.record(target)
        return failed

    def _turn(self, failed: list[str], say: Say) -> tuple[bool, bool]:
        """Do the first thing that is free; returns whether there was one, and whether others have something in hand."""
        busy = False
        for job in self.jobs():
            if job.name in failed:
                continue
            with locked(self._lock(job.name)) as ours:
                if not ours:
                    busy = True
                    continue
                say(f"{self.line(job.position)} · now {job.name}")
                if reason := job.do():
                    failed.append(job.name)
                    say(f"{job.name}: {reason}")
            self.record(self.queue.stages[job.position].target)
            return True, busy
        return False, busy

    def jobs(self) -> Iterator[Job]:
        """What is left and can be done now, in the queue's order: runs, then what their target does with them."""
        for position in range(len(self.queue.stages)):
            stage = None if position in self._over else self.stage(position)
            if stage is None:
                continue
            call, matrix = stage
            left = matrix.left()
            for run in left:
                yield Job(position, run.name, partial(_performed, matrix, run))
            if left:
                continue
            if call.target.more is None or _names(matrix) <= set(self._more(call.name)["runs"]):
                self._over.add(position)
            else:
                yield Job(position, f"{call.name}.more", partial(self._do_more, call, matrix))

    def stage(self, position: int) -> tuple[CommandCall, Matrix] | None:
        """A stage's target and runs; None while it waits for others that say how its runs are trained."""
        stage = self.queue.stages[position]
        if position not in self._known:
            experiments = self._experiments(position)
            if experiments is None:
                return None
            options = MatrixOptions(
                experiments, self.queue.experiments, stage.seeds, stage.budget, None, self.overrides
            )
            call = CommandCall(stage.target, options, self.out, self._arguments(position))
            self._known[position] = call, call.target.runs(options)
        call, runs = self._known[position]
        matrix = Matrix(runs, self.out / "runs")
        if call.target.further is not None:
            matrix = Matrix(call.target.further(call.options, matrix), matrix.folder)
        return call, stage.of(matrix)

    def _experiments(self, position: int) -> ExperimentSet | None:
        """The experiment set as earlier stages have settled it; None while one of those is not over."""
        experiments = self.experiments
        for earlier in self.queue.waits_for(position):
            settings = self._settled(earlier)
            if settings is None:
                return None
            experiments = with_settings(experiments, settings)
        return experiments

    def _settled(self, position: int) -> Settings | None:
        """What a stage says once it is over."""
        if position not in self._settings:
            stage = self.stage(position)
            if stage is None or stage[1].left():
                return None
            chooses = self.queue.stages[position].chooses
            self._settings[position] = settled_by(stage[0].options.experiments, stage[1]) if chooses else {}
            write_settings(self.out, self.queue.experiments, list(self._settings.values()))
        return self._settings[position]

    def _arguments(self, position: int) -> list[str]:
        """Of ``kedge reproduce`` for this stage's target, with the most seeds that it has so far."""
        stage, arguments = self.queue.stages[position], [f"{key}={value}" for key, value in self.overrides.items()]
        if self.queue.experiments != "emoji":
            arguments += ["--world" if self.queue.experiments == "papers" else "--config", self.queue.experiments]
        if stage.seeds > 1:
            arguments += ["--seeds", str(stage.seeds)]
        return arguments + (["--budget", f"{stage.budget:g}"] if stage.budget is not None else [])

    def line(self, position: int) -> str:
        """``stage 4 of 20, methods: 3 of 8 runs``."""
        name, matrix = f"stage {position + 1} of {len(self.queue.stages)}", self.stage(position)
        if matrix is None:
            return f"{name}, {self.queue.stages[position].target}: waits for earlier stages"
        runs = matrix[1].runs
        return f"{name}, {matrix[0].name}: {len(runs) - len(matrix[1].left())} of {len(runs)} runs"

    def _do_more(self, call: CommandCall, matrix: Matrix) -> str:
        assert call.target.more is not None
        try:
            extra = call.target.more(call.options, call.matrix, self.out / call.name)
        except (ValueError, OSError, RuntimeError) as error:
            return f"failed. {error}"
        known = {"runs": sorted(_names(matrix)), "extra": plain_json(extra)}
        write_text(self._more_file(call.name), json.dumps(known))
        return ""

    def _more(self, target: str) -> dict[str, Any]:
        path = self._more_file(target)
        return dict(read_json(path)) if path.is_file() else {"runs": [], "extra": {}}

    def _more_file(self, target: str) -> Path:
        return self.out / target / MORE

    def record(self, target: str) -> Result | None:
        """Write the records of a target as far as its runs are; None if none has begun, or another lane is writing."""
        with locked(self._lock(RECORDING)) as ours:
            result = self.result(target) if ours else None
            if result is not None:
                join = partial(with_recorded, result, runs=self.asked(target), say=print)
                RecordStore(self.out / "records").update(lambda recorded: [join(recorded)])
            return result

    def result(self, target: str) -> Result | None:
        """The runs of all stages of a target that have begun; None if there is none.

        A base model's run is of many targets: alone it begins those that have nothing else to do.

        Raises:
            ConfigError: a folder holds another run under one of the names.
        """
        runs: dict[str, RunRecord] = {}
        sheets: dict[str, bytes] = {}
        facts = self.facts(target)
        more = self._more(target)
        nothing_else, trained = True, False
        for position, stage in enumerate(self.queue.stages):
            known = self.stage(position) if stage.target == target else None
            if known is None:
                continue
            call, matrix = known
            nothing_else = nothing_else and call.target.more is None and not any(run.train for run in matrix.runs)
            for run in matrix.runs:
                if matrix.state(run) != "waiting":
                    check_same(run, matrix.home(run))
                    trained = trained or run.train
                    runs[run.name], pictures = collect(matrix, run, call.target.points)
                    sheets |= pictures if call.target.pictures else {}
        begun = more["extra"] or nothing_else or trained
        if more["extra"]:
            facts[MORE_OF] = more["runs"]
        return (
            Result(target, facts, tuple(runs.values()), extra=more["extra"], sheets=sheets) if runs and begun else None
        )

    def facts(self, target: str) -> dict[str, Any]:
        """What the page of a target says, by its stage of the most seeds whose settings are known."""
        facts: dict[str, Any] = {}
        for position, stage in enumerate(self.queue.stages):
            known = self.stage(position) if stage.target == target else None
            if known is not None and stage.seeds >= facts.get("seeds", 0):
                facts = known[0].facts()
        return facts

    def asked(self, target: str) -> dict[str, Run]:
        """Name → run of a target's stages, but for those that wait for earlier ones: what they ask for is not known."""
        runs: dict[str, Run] = {}
        for position, stage in enumerate(self.queue.stages):
            known = self.stage(position) if stage.target == target else None
            if known is not None:
                runs |= {run.name: run for run in known[1].runs}
        return runs

    def draw(self) -> list[Path]:
        """Tables and figures of everything that is recorded, in every format."""
        files = []
        for target in RecordStore(self.out / "records").results():
            files += CommandCall(target, MatrixOptions(self.experiments), self.out).draw()
        return files

    def _lock(self, name: str) -> Path:
        return self.out / "runs" / ".locks" / name


def _performed(matrix: Matrix, run: Run) -> str:
    """Do one run; returns why it did not come to its end, or nothing."""
    check_same(run, matrix.home(run))
    state = perform(run, matrix.home(run))
    return "" if state in OVER else f"{state}. {matrix.reason(run)}"


def _names(matrix: Matrix) -> set[str]:
    return {run.name for run in matrix.runs}

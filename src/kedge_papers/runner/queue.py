"""Runs of many targets in one order: what comes first, and what each stage settles.

A queue is a YAML file; those in ``queues`` ship. It says nothing that targets do not know: it names some of their runs,
stage by stage.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path

from kedge.config import ConfigError
from kedge.config.text import read_yaml, validated
from kedge.workflows.runner.matrix import Matrix
from kedge_papers import TARGETS

SHIPPED = ("evidence", "again", "again-raters")
MEASURES_UNITS, TUNES = "table4", "tuning"  # stages that say how later ones are trained
TOLD_NOTHING = (MEASURES_UNITS, "estimators", "dimension")  # targets whose runs depend on no other's


@dataclass(frozen=True)
class Stage:
    """Some runs of one target.

    Attributes:
        target: of ``kedge reproduce``.
        runs: their names, as patterns (``methods-rlcm--*``); all of the target's by default.
        seeds, budget: as the options of ``kedge reproduce``.
        settles: what is known after it, for people.
        chooses: of a tuning stage: whether later runs are trained as it chose, or as their presets say.
    """

    target: str
    runs: tuple[str, ...] = ("*",)
    seeds: int = 1
    budget: float | None = None
    settles: str = ""
    chooses: bool = True

    def takes(self, name: str) -> bool:
        """Whether a run of the target's is its own."""
        return any(fnmatchcase(name, pattern) for pattern in self.runs)

    def of(self, matrix: Matrix) -> Matrix:
        """Its runs of the target's matrix.

        Raises:
            ConfigError: a pattern that fits none.
        """
        for pattern in self.runs:
            if not any(fnmatchcase(run.name, pattern) for run in matrix.runs):
                raise ConfigError(f"queue: no run of {self.target} with {self.seeds} seeds is called {pattern!r}")
        chosen = []
        for run in matrix.runs:
            if self.takes(run.name) or (self.target == TUNES and not run.train):  # what rises are measured from
                chosen.append(run)
        return replace(matrix, runs=tuple(chosen))


@dataclass(frozen=True)
class Queue:
    """Stages in the order in which their runs are done.

    Attributes:
        experiments: the experiment set, as ``--world`` or ``--config`` names it.
        stages: in order; several may be of one target, with one budget.
    """

    experiments: str
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        budgets: dict[str, float | None] = {}
        for stage in self.stages:
            if budgets.setdefault(stage.target, stage.budget) != stage.budget:
                raise ValueError(f"stages of {stage.target} have different budgets: one target has one")

    @property
    def targets(self) -> list[str]:
        """Each once, in order."""
        return list(dict.fromkeys(stage.target for stage in self.stages))

    def waits_for(self, position: int) -> list[int]:
        """The stages that have to be over before the one at ``position`` knows how its runs are trained.

        Table 4 measures what β counts in; tuning chooses learning rates and batches. A tuning stage waits for no other.
        """
        target, earlier = self.stages[position].target, []
        if target in TOLD_NOTHING:
            return []
        for i in range(position):
            other = self.stages[i].target
            if other == MEASURES_UNITS or (other == TUNES and target != TUNES):
                earlier.append(i)
        return earlier


def load_queue(name: str) -> Queue:
    """One that ships, or a YAML file of the same form.

    Raises:
        ConfigError: naming the file and the key, or a target that there is not.
    """
    shipped = Path(str(resources.files("kedge_papers") / "runner" / "queues"))
    path = shipped / f"{name}.yaml" if name in SHIPPED else Path(name)
    if not path.is_file():
        raise ConfigError(f"no queue {name!r}: choose {', '.join(SHIPPED)}, or give a YAML file of the same form")
    data = read_yaml(path.read_text(encoding="utf-8"), str(path))
    queue = validated(Queue, data, path)
    for target in queue.targets:
        TARGETS.get(target)
    return queue

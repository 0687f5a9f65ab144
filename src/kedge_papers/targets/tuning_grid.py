"""A grid of configurations, what tuning makes of it, and what its records say afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kedge.evaluation.result import Evaluation
from kedge_papers.records.result import Result
from kedge_papers.records.rows import Row, difference
from kedge_papers.runner.experiment_set import SEEDS_APART, Overrides

SEED = SEEDS_APART  # far from those of the comparisons
MICRO_BATCH = 16
BASE = "base"


@dataclass(frozen=True)
class Candidate:
    """One configuration of a method on a reward."""

    method: str
    reward: str
    rate: float
    samples: int

    @property
    def name(self) -> str:
        """Of its runs, without the seed."""
        return f"tuning-{self.method}--{self.reward}--{self.rate:g}-{self.samples}"

    @property
    def overrides(self) -> Overrides:
        """What it tells a run."""
        batch = min(self.samples, MICRO_BATCH)
        return {
            "optimizer.lr": self.rate,
            "optimizer.schedule": "constant",
            "training.batch_size": batch,
            "training.accumulation": self.samples // batch,
        }


@dataclass(frozen=True)
class Standing:
    """Where a configuration stands at a rung.

    Attributes:
        rise: of the trained reward, in standard deviations of the base model's scores.
        falls: of each judge, likewise, as far as it fell beyond chance; 0 where it did not.
    """

    rise: float
    falls: tuple[float, ...]

    @property
    def worst(self) -> float:
        """The largest fall; 0 where nobody judges."""
        return max(self.falls, default=0.0)

    @property
    def qualifies(self) -> bool:
        """Whether no judge fell."""
        return self.worst == 0

    @property
    def order(self) -> tuple[bool, float, float]:
        """Larger is better: those that qualify by their rise, then the others by how little they fell."""
        return self.qualifies, self.rise if self.qualifies else -self.worst, self.rise


def rung_role(rung: int) -> str:
    """What a run is measured as at a rung, counted from 0."""
    return f"rung-{rung + 1}"


def chosen(standings: Mapping[Candidate, Standing | None], count: int) -> list[Candidate]:
    """The best of them that were measured, at most ``count``."""
    known = []
    for each, standing in standings.items():
        if standing is not None:
            known.append((each, standing))
    ordered = sorted(known, key=lambda item: item[1].order, reverse=True)
    return [each for each, _ in ordered[:count]]


def standing_of(row: Row, base: Row) -> Standing:
    """The rise of the first metric, which is trained on, and how far the others fell."""
    trained, *judges = base.metrics()
    falls = []
    for judge in judges:
        change = difference(row, base, judge)
        falls.append(-change.value / base.deviation(judge) if change.high < 0 else 0.0)
    return Standing(difference(row, base, trained).value / base.deviation(trained), tuple(falls))


@dataclass(frozen=True)
class Tuned:
    """What the records of a grid say about one method on one reward.

    Attributes:
        grid: candidate → the rung that it reached → how it stood there; no rung for one that diverged before the first.
        choice: the configuration that was chosen; None if all diverged, or one of them is not over.
        untrainable: whether a judge fell even there.
        diverged: configurations that did, at any rung: they are not chosen, however well they stood before.
    """

    method: str
    reward: str
    grid: Mapping[str, Mapping[int, Standing]]
    choice: str | None
    untrainable: bool
    diverged: frozenset[str] = frozenset()


def tuned(result: Result) -> list[Tuned]:
    """Every method and reward of a recorded grid, by the names of its runs."""
    grids: dict[tuple[str, str], dict[str, dict[int, Standing]]] = {}
    diverged, open_pairs = set(), set[tuple[str, str]]()
    for run in result.runs:
        if run.state == "diverged":
            diverged.add(run.family)
        elif run.name.startswith("tuning-") and not run.usable:
            open_pairs.add(_parts(run.family)[:2])
    for family, rungs in _rungs(result).items():
        method, reward, configuration = _parts(family)
        grids.setdefault((method, reward), {})[configuration] = rungs
    grids_of_methods = []
    for (method, reward), grid in grids.items():
        lost, alive = set(), {}
        for name, rungs in grid.items():
            if f"tuning-{method}--{reward}--{name}" in diverged:
                lost.add(name)
            else:
                alive[name] = rungs
        finalists = {} if (method, reward) in open_pairs else _finalists(alive)
        best = max(finalists, key=lambda name: finalists[name].order) if finalists else None
        damaged = best is not None and not finalists[best].qualifies
        grids_of_methods.append(Tuned(method, reward, grid, best, untrainable=damaged, diverged=frozenset(lost)))
    return grids_of_methods


def _parts(family: str) -> tuple[str, str, str]:
    """Method, reward and configuration of a family of runs."""
    method, reward, configuration = family.removeprefix("tuning-").split("--")
    return method, reward, configuration


def _finalists(grid: Mapping[str, Mapping[int, Standing]]) -> dict[str, Standing]:
    """Those that got farthest, as they stood there."""
    last = max((rung for rungs in grid.values() for rung in rungs), default=0)
    finalists = {}
    for name, rungs in grid.items():
        if last in rungs:
            finalists[name] = rungs[last]
    return finalists


def _rungs(result: Result) -> dict[str, dict[int, Standing]]:
    repetitions: dict[str, dict[int, dict[int, Evaluation]]] = {}
    bases: dict[str, str] = {}
    for run in result.runs:
        if not (run.trained and run.name.startswith("tuning-")):
            continue
        family, bases[run.family] = repetitions.setdefault(run.family, {}), str(run.base.get("digest"))
        for role, evaluation in run.evaluations.items():
            if role.startswith("rung-"):
                family.setdefault(int(role.removeprefix("rung-")) - 1, {})[run.seed] = evaluation
    rungs: dict[str, dict[int, Standing]] = {}
    for name, by_rung in repetitions.items():
        base = _recorded_base(result, bases[name], name.split("--")[1])
        if base is not None:
            rungs[name] = {rung: standing_of(Row(name, each), base) for rung, each in sorted(by_rung.items())}
    return rungs


def _recorded_base(result: Result, digest: str, reward: str) -> Row | None:
    for run in result.runs:
        if not run.trained and run.base.get("digest") == digest and reward in run.evaluations:
            return Row(BASE, {0: run.evaluations[reward]}, trained=False)
    return None


def as_overrides(grids: Sequence[Tuned]) -> dict[str, dict[str, Any]]:
    """Reward → method → what tuning chose, as :attr:`ExperimentSet.tuned` has it."""
    overrides: dict[str, dict[str, Any]] = {}
    for each in grids:
        if each.choice is not None:
            rate, _, samples = each.choice.rpartition("-")
            candidate = Candidate(each.method, each.reward, float(rate), int(samples))
            overrides.setdefault(each.reward, {})[each.method] = candidate.overrides
    return overrides


def spread(result: Result, reward: str, method: str) -> dict[str, float]:
    """Configuration → its rise at the first rung, divided by the best one's: 1 is as good as it gets.

    One that diverged before has risen by nothing: left out, a method would look the less sensitive the more it breaks.
    Empty if nothing rose.
    """
    for each in tuned(result):
        if (each.reward, each.method) == (reward, method):
            known = {}
            for name, rungs in each.grid.items():
                if 0 in rungs:
                    known[name] = rungs[0].rise
            best = max(known.values(), default=0.0)
            if best > 0:
                lost = dict.fromkeys(each.diverged, 0.0)
                return {name: rise / best for name, rise in {**lost, **known}.items()}
    return {}

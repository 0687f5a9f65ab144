"""How every method's learning rate and batch are chosen: one protocol for all, and nothing that the tests look at.

Successive halving: every configuration runs by the schedule of the full horizon; at each rung those go on whose trained
reward rose most on the tuning prompts, as long as neither of two held-out judges that see damage has fallen beyond
chance. If none qualifies, the least violation goes on, and the method is marked untrainable on that reward. The same
number of reward queries for every method and reward; never the true preference, never a test prompt.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from kedge.config import ConfigError
from kedge.evaluation.records import evaluation_folder, load_record
from kedge.evaluation.result import Evaluation
from kedge.evaluation.tables import Table, display
from kedge.workflows.runner.matrix import OVER, Matrix
from kedge.workflows.runner.runs import Measure, Run
from kedge_papers.pages.exhibit import COLOURS, Exhibit, canvas
from kedge_papers.records.result import Result
from kedge_papers.records.rows import Row, difference
from kedge_papers.records.tables import point
from kedge_papers.runner.budget import for_queries
from kedge_papers.runner.experiment_set import ExperimentSet, Overrides
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.methods import FINAL, before_and_after, trained_metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEED = 1000  # far from those of the comparisons
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
    def qualifies(self) -> bool:
        """Whether no judge fell."""
        return max(self.falls) == 0

    @property
    def order(self) -> tuple[bool, float, float]:
        """Larger is better: those that qualify by their rise, then the others by how little they fell."""
        return self.qualifies, self.rise if self.qualifies else -max(self.falls), self.rise


def rung_role(rung: int) -> str:
    """What a run is measured as at a rung, counted from 0."""
    return f"rung-{rung + 1}"


def tuned_pairs(experiments: ExperimentSet) -> list[tuple[str, str]]:
    """Every method on every reward that the tables train it on, and those of the comparison."""
    pairs = [(method, reward) for reward in experiments.rows for method in experiments.rows_of(reward)]
    pairs += [(method, experiments.comparison.reward) for method in experiments.comparison.methods]
    return list(dict.fromkeys(pairs))


def candidates(experiments: ExperimentSet, method: str, reward: str) -> list[Candidate]:
    """The grid, the same for every method and reward."""
    grid = experiments.grid
    return [Candidate(method, reward, *each) for each in itertools.product(grid.rates, grid.samples)]


def measure_of(options: MatrixOptions, reward: str) -> Measure:
    """The trained reward and its two judges on the tuning prompts: neither the truth nor a test prompt."""
    experiments = options.experiments
    if experiments.tuning is None:
        raise ConfigError(f"{options.name}: no tuning prompts, because every hyper-parameter of it is published")
    metrics = (experiments.rewards[reward], *experiments.judges(reward))
    return options.measure(experiments.tuning, metrics=metrics, count=options.count, seed=experiments.noise_seed + 1)


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """The models before, and every configuration up to the first rung."""
    matrix: list[Run] = []
    pairs = tuned_pairs(options.experiments)
    for kind in options.experiments.bases:
        measures = {reward: measure_of(options, reward) for _, reward in pairs}
        matrix.append(options.base(kind, measures, "tuning"))
    for method, reward in pairs:
        for candidate in candidates(options.experiments, method, reward):
            matrix += [at_rung(options, candidate, 0, seed) for seed in options.repetitions()]
    return tuple(matrix)


def at_rung(options: MatrixOptions, candidate: Candidate, rung: int, seed: int) -> Run:
    """A configuration's run up to a rung, by the schedule of the full horizon, measured there and at the rungs before.

    ``budget`` is the horizon in reward queries; the rungs keep their shares of it.
    """
    grid, measure = options.experiments.grid, measure_of(options, candidate.reward)
    recipe, overrides = options.method(candidate.method, candidate.reward)
    title = options.experiments.methods[candidate.method].title
    name, horizon = f"{candidate.name}--{SEED + seed}", options.budget or grid.queries[-1]
    run = Run(name, recipe, {**overrides, **candidate.overrides}, title, seed=SEED + seed)
    queries = horizon * grid.queries[rung] / grid.queries[-1]
    until = for_queries(options.quiet(run), queries, least=1).config().training.steps
    run = options.with_queries(run, horizon)
    measures = {rung_role(i): measure for i in range(rung + 1)}
    return replace(run, measures=measures, until=until)


def further(options: MatrixOptions, matrix: Matrix) -> tuple[Run, ...]:
    """The runs once more, those that go on to the next rung with it; the same if there is nothing to decide."""
    by_name = {run.name: run for run in matrix.runs}
    for method, reward in tuned_pairs(options.experiments):
        grid = options.experiments.grid
        standing = candidates(options.experiments, method, reward)
        for rung, kept in enumerate(grid.keep):
            names = {each: _names(options, each) for each in standing}
            here = [by_name[name] for each in standing for name in names[each]]
            if any(matrix.state(run) not in OVER for run in here if len(run.measures) == rung + 1):
                break
            found = {each: _standing(options, matrix, each, rung) for each in standing}
            standing = chosen(found, kept)
            for each in standing:
                for seed, name in zip(options.repetitions(), names[each], strict=True):
                    if len(by_name[name].measures) == rung + 1:
                        by_name[name] = at_rung(options, each, rung + 1, seed)
    return tuple(by_name.values())


def chosen(standings: Mapping[Candidate, Standing | None], kept: int) -> list[Candidate]:
    """The best of them that were measured, at most ``kept``."""
    known = [(each, standing) for each, standing in standings.items() if standing is not None]
    ordered = sorted(known, key=lambda item: item[1].order, reverse=True)
    return [each for each, _ in ordered[:kept]]


def _names(options: MatrixOptions, candidate: Candidate) -> list[str]:
    return [f"{candidate.name}--{SEED + seed}" for seed in options.repetitions()]


def _standing(options: MatrixOptions, matrix: Matrix, candidate: Candidate, rung: int) -> Standing | None:
    """Of what was measured in the run folders; None if a run diverged."""
    repetitions = {}
    for seed, name in zip(options.repetitions(), _names(options, candidate), strict=True):
        found = load_record(evaluation_folder(matrix.folder / name), rung_role(rung))
        if found is None:
            return None
        repetitions[seed] = found
    model = options.method(candidate.method, candidate.reward)
    base = _base_of(matrix, Run("x", *model), candidate.reward)
    return None if base is None else standing_of(Row(candidate.name, repetitions), base)


def _base_of(matrix: Matrix, run: Run, reward: str) -> Row | None:
    """The model before, of the same name, as it was measured for a reward."""
    for base in matrix.runs:
        if not base.train and base.config().model.name == run.config().model.name:
            found = load_record(evaluation_folder(matrix.home(base)), reward)
            return Row(BASE, {0: found}, trained=False) if found else None
    return None


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
        grid: candidate → the rung that it reached → how it stood there.
        choice: the configuration that was chosen; None if all diverged.
        untrainable: whether a judge fell even there.
    """

    method: str
    reward: str
    grid: Mapping[str, Mapping[int, Standing]]
    choice: str | None
    untrainable: bool


def tuned(result: Result) -> list[Tuned]:
    """Every method and reward of a recorded grid, by the names of its runs."""
    grids: dict[tuple[str, str], dict[str, dict[int, Standing]]] = {}
    for family, rungs in _rungs(result).items():
        method, reward, configuration = family.removeprefix("tuning-").split("--")
        grids.setdefault((method, reward), {})[configuration] = rungs
    found = []
    for (method, reward), grid in grids.items():
        last = max((rung for rungs in grid.values() for rung in rungs), default=0)
        finalists = {name: rungs[last] for name, rungs in grid.items() if last in rungs}
        best = max(finalists, key=lambda name: finalists[name].order) if finalists else None
        found.append(Tuned(method, reward, grid, best, best is not None and not finalists[best].qualifies))
    return found


def _rungs(result: Result) -> dict[str, dict[int, Standing]]:
    repetitions: dict[str, dict[int, dict[int, Evaluation]]] = {}
    bases: dict[str, str] = {}
    for run in result.runs:
        for role, evaluation in run.evaluations.items():
            if run.trained and role.startswith("rung-"):
                family = repetitions.setdefault(run.family, {})
                family.setdefault(int(role.removeprefix("rung-")) - 1, {})[run.seed] = evaluation
                bases[run.family] = str(run.base.get("digest"))
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


def show(result: Result) -> Exhibit:
    """A table for each reward: every configuration at every rung; what was chosen, ready for the experiment set."""
    grids = tuned(result)
    if not grids:  # recorded by another protocol: what each run changed
        table = before_and_after(result.runs, FINAL, trained_metric(result.runs), "Run", lambda run: run.name)
        return Exhibit((table,) if table else ())
    tables = [_table(result, reward, grids) for reward in dict.fromkeys(each.reward for each in grids)]
    chosen_yaml = yaml.safe_dump({"tuned": as_overrides(grids)}, sort_keys=False)
    note = f"What was chosen, as the experiment set takes it:\n\n```yaml\n{chosen_yaml}```"
    return Exhibit(tuple(tables), _figure(grids), (note,))


def as_overrides(grids: Sequence[Tuned]) -> dict[str, dict[str, Any]]:
    """Reward → method → what tuning chose, as :attr:`ExperimentSet.tuned` has it."""
    overrides: dict[str, dict[str, Any]] = {}
    for each in grids:
        if each.choice is not None:
            rate, _, samples = each.choice.rpartition("-")
            candidate = Candidate(each.method, each.reward, float(rate), int(samples))
            overrides.setdefault(each.reward, {})[each.method] = candidate.overrides
    return overrides


def _table(result: Result, reward: str, grids: Sequence[Tuned]) -> Table:
    lines, depth = [], 1 + max(rung for each in grids for rungs in each.grid.values() for rung in rungs)
    for each in grids:
        for name, rungs in each.grid.items() if each.reward == reward else ():
            rises = [point(rungs[rung].rise, 2) if rung in rungs else None for rung in range(depth)]
            worst = max(rungs[max(rungs)].falls)
            mark = (" (untrainable)" if each.untrainable else " (chosen)") if name == each.choice else ""
            lines.append((f"{each.method}, {name.replace('-', ' × ')}{mark}", (*rises, point(worst, 2))))
    heads = (*(f"rise at rung {rung + 1}" for rung in range(depth)), "worst fall of a judge")
    title = (
        f"Trained on {display(result.facts['rewards'].get(reward, reward)).title}: learning rate × samples of a step"
    )
    note = (
        "In standard deviations of the base model's scores, on the tuning prompts. A fall counts if it is beyond "
        "chance. A dash: did not go on."
    )
    return Table("Method, configuration", heads, heads, tuple(lines), title, note)


def _figure(grids: Sequence[Tuned]) -> Figure:
    """How far apart a method's configurations are at the first rung: how much its tuning matters."""
    figure, (axes,) = canvas(size=(6.4, 3.6))
    labels = [f"{each.method}\n{each.reward}" for each in grids]
    for i, each in enumerate(grids):
        rises = [rungs[0].rise for rungs in each.grid.values() if 0 in rungs]
        axes.plot([i] * len(rises), rises, "o", color=COLOURS[i % len(COLOURS)], markersize=4)
    axes.set_xticks(range(len(labels)), labels, fontsize=6)
    axes.set(ylabel="rise at the first rung, sd")
    axes.axhline(0, color="black", linewidth=0.8, linestyle=":")
    return figure


def spread(result: Result, reward: str, method: str) -> list[float]:
    """Rise of each configuration at the first rung, divided by the best configuration's: 1 is as good as it gets."""
    for each in tuned(result):
        if (each.reward, each.method) == (reward, method):
            rises = np.array([rungs[0].rise for rungs in each.grid.values() if 0 in rungs])
            return (rises / rises.max()).tolist() if len(rises) and rises.max() > 0 else []
    return []


TUNING = Target(
    "How the methods' learning rates and batches were chosen",
    "no table: neither paper says how",
    runs,
    show,
    protocol="Successive halving over a grid, the same for every method and reward, on prompts of its own.",
    further=further,
)

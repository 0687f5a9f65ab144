"""How every method's learning rate and batch are chosen: one protocol for all, and nothing that the tests look at.

Successive halving: every configuration runs by the schedule of the full horizon; at each rung those go on whose trained
reward rose most on the tuning prompts, as long as neither of two held-out judges that see damage has fallen beyond
chance. If none qualifies, the least violation goes on, and the method is marked untrainable on that reward. The same
number of reward queries for every method and reward, but for those whose first rung decides (``grid.first_rung``);
never the true preference, never a test prompt.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import yaml

from kedge.config import ConfigError
from kedge.evaluation.records import evaluation_folder, load_record
from kedge.evaluation.tables import Cell, Table, display
from kedge.workflows.runner.matrix import OVER, Matrix
from kedge.workflows.runner.runs import Measure, Run
from kedge_papers.pages.exhibit import Exhibit, canvas, colours
from kedge_papers.records.result import Result
from kedge_papers.records.rows import Row
from kedge_papers.records.tables import point
from kedge_papers.runner.budget import for_queries
from kedge_papers.runner.experiment_set import ExperimentSet
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.hacking import METHOD as SWEPT
from kedge_papers.targets.methods import FINAL, before_and_after, trained_metric
from kedge_papers.targets.tuning_grid import (
    BASE,
    SEED,
    Candidate,
    Standing,
    Tuned,
    as_overrides,
    chosen,
    rung_role,
    standing_of,
    tuned,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tuned_pairs(experiments: ExperimentSet) -> list[tuple[str, str]]:
    """Every method on every reward that the tables train it on, those of the comparison, the sweep and black boxes."""
    pairs: dict[tuple[str, str], None] = {}
    for reward in experiments.rows:
        for method in experiments.rows_of(reward):
            pairs[method, reward] = None
    for method in experiments.comparison.methods:
        pairs[method, experiments.comparison.reward] = None
    for reward in experiments.sweep.rewards:
        pairs[SWEPT, reward] = None
    for reward in experiments.black_boxes:
        for method in experiments.black_box.methods if experiments.black_box else ():
            pairs[method, reward] = None
    return list(pairs)


def candidates(experiments: ExperimentSet, method: str, reward: str) -> list[Candidate]:
    """The grid, the same for every method and reward."""
    grid = experiments.grid
    return [Candidate(method, reward, *each) for each in itertools.product(grid.rates, grid.samples)]


def measure_of(options: MatrixOptions, reward: str) -> Measure:
    """The trained reward and its two judges on the tuning prompts: neither the truth nor a test prompt."""
    experiments = options.experiments
    if experiments.tuning is None:
        raise ConfigError(f"{options.name}: no tuning prompts, because every hyper-parameter of it is published")
    metrics = (experiments.registered(reward), *experiments.judges(reward))
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
            for seed in options.repetitions():
                matrix.append(at_rung(options, candidate, 0, seed))
    return tuple(matrix)


def at_rung(options: MatrixOptions, candidate: Candidate, rung: int, seed: int) -> Run:
    """A configuration's run up to a rung, by the schedule of the full horizon, measured there and at the rungs before.

    ``budget`` is the horizon in reward queries; the rungs keep their shares of it.
    """
    grid, measure = options.experiments.grid, measure_of(options, candidate.reward)
    recipe, overrides = options.method(candidate.method, candidate.reward)
    title = options.experiments.method_of(candidate.method, candidate.reward).title
    name, horizon = f"{candidate.name}--{SEED + seed}", options.budget or grid.queries[-1]
    run = Run(name, recipe, {**overrides, **candidate.overrides}, title, seed=SEED + seed)
    queries = horizon * grid.queries[rung] / grid.queries[-1]
    until = for_queries(options.quiet(run), queries, least=1).config().training.steps
    run = options.with_queries(run, horizon)
    measures = dict.fromkeys(map(rung_role, range(rung + 1)), measure)
    return replace(run, measures=measures, until=until)


def further(options: MatrixOptions, matrix: Matrix) -> tuple[Run, ...]:
    """The runs once more, those that go on to the next rung with it; the same if there is nothing to decide."""
    by_name = {run.name: run for run in matrix.runs}
    for method, reward in tuned_pairs(options.experiments):
        grid = options.experiments.grid
        if method in grid.first_rung:
            continue
        standing = candidates(options.experiments, method, reward)
        for rung, count in enumerate(grid.keep):
            cells: list[Run] = []
            for each in standing:
                cells += map(by_name.__getitem__, _names(options, each))
            if any(len(run.measures) == rung + 1 and matrix.state(run) not in OVER for run in cells):
                break
            standings = {each: _standing(options, matrix, each, rung) for each in standing}
            standing = chosen(standings, count)
            for each in standing:
                for seed, name in zip(options.repetitions(), _names(options, each), strict=True):
                    if len(by_name[name].measures) == rung + 1:
                        by_name[name] = at_rung(options, each, rung + 1, seed)
    return tuple(by_name.values())


def _names(options: MatrixOptions, candidate: Candidate) -> list[str]:
    return [f"{candidate.name}--{SEED + seed}" for seed in options.repetitions()]


def _standing(options: MatrixOptions, matrix: Matrix, candidate: Candidate, rung: int) -> Standing | None:
    """Of what was measured in the run folders; None if a run diverged."""
    repetitions = {}
    for seed, name in zip(options.repetitions(), _names(options, candidate), strict=True):
        evaluation = load_record(evaluation_folder(matrix.folder / name), rung_role(rung))
        if evaluation is None:
            return None
        repetitions[seed] = evaluation
    model = options.method(candidate.method, candidate.reward)
    base = _base_of(matrix, Run("x", *model), candidate.reward)
    return None if base is None else standing_of(Row(candidate.name, repetitions), base)


def _base_of(matrix: Matrix, run: Run, reward: str) -> Row | None:
    """The model before, of the same name, as it was measured for a reward."""
    for base in matrix.runs:
        if not base.train and base.config().model.name == run.config().model.name:
            evaluation = load_record(evaluation_folder(matrix.home(base)), reward)
            return Row(BASE, {0: evaluation}, trained=False) if evaluation else None
    return None


def show(result: Result) -> Exhibit:
    """A table for each reward: every configuration at every rung; what was chosen, ready for the experiment set."""
    grids = tuned(result)
    if not result.trained:
        return Exhibit()
    if not grids:  # recorded by another protocol: what each run changed
        table = before_and_after(result.runs, FINAL, trained_metric(result.runs), "Run", lambda run: run.name)
        return Exhibit((table,) if table else ())
    rewards = dict.fromkeys(each.reward for each in grids)
    tables = [_table(result, reward, grids) for reward in rewards]
    chosen_yaml = yaml.safe_dump({"tuned": as_overrides(grids)}, sort_keys=False)
    note = f"What was chosen, as the experiment set takes it:\n\n```yaml\n{chosen_yaml}```"
    return Exhibit(tuple(tables), _figure(grids), (*_sooner_decided(grids), note))


def _sooner_decided(grids: Sequence[Tuned]) -> list[str]:
    """Which choices were made before the last rung that any grid reached."""
    last = max((_depth(each) for each in grids if each.choice), default=0)
    notes = []
    for each in grids:
        if each.choice and _depth(each) < last:
            notes.append(f"{each.method} on {each.reward}: rung {_depth(each)} decided, not rung {last}.")
    return notes


def _depth(each: Tuned) -> int:
    """How many rungs a grid reached; none where every configuration diverged at once."""
    return max((rung + 1 for rungs in each.grid.values() for rung in rungs), default=0)


def _table(result: Result, reward: str, grids: Sequence[Tuned]) -> Table:
    lines, depth = [], max([1, *map(_depth, grids)])
    for each in grids:
        for name, rungs in each.grid.items() if each.reward == reward else ():
            rises: list[Cell | None] = []
            for rung in range(depth):
                rises.append(point(rungs[rung].rise, 2) if rung in rungs else None)
            worst = point(rungs[max(rungs)].worst, 2) if rungs else None
            mark = " (diverged)" if name in each.diverged else ""
            if name == each.choice:
                mark = " (untrainable)" if each.untrainable else " (chosen)"
            lines.append((f"{each.method}, {name.replace('-', ' × ')}{mark}", (*rises, worst)))
    heads = (*(f"rise at rung {rung + 1}" for rung in range(depth)), "worst fall of a judge")
    title = (
        f"Trained on {display(result.facts['rewards'].get(reward, reward)).title}: learning rate × samples of a step"
    )
    note = (
        "In standard deviations of the base model's scores, on the tuning prompts. A rung: so many reward queries, "
        "after which fewer configurations go on, those that rose most. Worst fall: of two judges that see damage, "
        "beyond chance. Untrainable: one fell even in the configuration that was taken. `none`: ROCM without an "
        "anchor. A dash: did not go on."
    )
    return Table("Method, configuration", heads, heads, tuple(lines), title, note)


def _figure(grids: Sequence[Tuned]) -> Figure:
    """How far apart a method's configurations are at the first rung: how much its tuning matters. A line each."""
    ordered = sorted(grids, key=lambda each: each.reward)
    figure, (axes,) = canvas(size=(6.4, 1.0 + 0.22 * len(ordered)))
    shade = colours(each.reward for each in ordered)
    for i, each in enumerate(ordered):
        rises = []
        for rungs in each.grid.values():
            if 0 in rungs:
                rises.append(rungs[0].rise)
        axes.plot(rises, [i] * len(rises), "o", color=shade[each.reward], markersize=4, alpha=0.8)
    axes.set_yticks(range(len(ordered)), [f"{each.reward}: {each.method}" for each in ordered])
    axes.invert_yaxis()
    axes.set(xlabel="rise at the first rung, sd; a dot for each configuration")
    axes.axvline(0, color="black", linewidth=0.8, linestyle=":")
    return figure


TUNING = Target(
    "How the methods' learning rates and batches were chosen",
    "no table: neither paper says how",
    runs,
    show,
    protocol="Successive halving over a grid, the same for every method and reward, on prompts of its own.",
    further=further,
)

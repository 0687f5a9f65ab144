"""Every method on one reward: how far it gets, for how many reward queries, in what time and memory.

Each method runs by its own preset (ROCM's, which is for another reward and prompts, with the learning rate that
:mod:`kedge_papers.targets.tuning` found for these), for the same number of reward queries. Held-out prompts are scored
as it trains, which counts towards neither its queries nor its time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kedge.evaluation.comparison import compare
from kedge.evaluation.tables import Cell, Table
from kedge.workflows.runner.cost import step_cost
from kedge.workflows.runner.runs import Measure, Run
from kedge_papers.pages.exhibit import COLOURS, Exhibit, canvas, legend
from kedge_papers.records.curves import points_over_seeds, time_unit
from kedge_papers.records.result import Result, merged
from kedge_papers.records.run_record import RunRecord
from kedge_papers.records.tables import grouped, point
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FINAL = "final"
TASK = "aesthetic"  # RLCM's task whose reward has a gradient, so that ROCM can run too
QUERIES = 768
WATCHED = 24  # held-out prompts that are scored while it trains
POINTS = 6  # so often
MEASURED = 128  # held-out prompts that the finished models are measured on
TITLES = {"rocm": "ROCM", "rlcm": "RLCM", "ddpo": "DDPO", "dpok": "DPOK", "d3po": "D3PO"}


def of_queries(options: MatrixOptions, run: Run, queries: float) -> Run:
    """The run for so many reward queries, with no pictures while it trains."""
    steps = max(1, round(queries / step_cost(run.config()).queries))
    quiet = {"watch.samples_every": 0, "watch.tensorboard": False, "checkpoint.every": max(1, steps // POINTS)}
    told = {**run.overrides, "training.steps": steps, **quiet, **(options.overrides or {})}
    return replace(run, overrides=told)


def method_run(options: MatrixOptions, method: str, name: str, queries: float, told: Mapping[str, Any]) -> Run:
    """A method by its own preset, on the task's reward and prompts, for so many reward queries."""
    experiments, task = options.experiments, options.experiments.tasks[TASK]
    recipes = {"rocm": experiments.methods["kl"].recipe, "rlcm": task.recipe}
    recipe = recipes[method] if method in recipes else experiments.methods[method].recipe
    own = {"optimizer.lr": 1e-3, "optimizer.schedule": "constant"} if method == "rocm" else {}
    run = Run(name, recipe, {**own, "reward": task.reward, "prompts": task.prompts, **told}, TITLES[method])
    return of_queries(options, run, queries)


def watched(options: MatrixOptions, run: Run) -> Run:
    """The run with held-out prompts scored as it trains."""
    unseen = options.experiments.unseen
    told = {
        "watch.evaluate_every": max(1, run.config().training.steps // POINTS),
        "watch.held_out": {"source": unseen if isinstance(unseen, str) else options.experiments.test, "count": WATCHED},
        "watch.pictures": 1,
        "watch.encoder": "none",
        "watch.metrics": [options.experiments.truth] if options.experiments.truth else [],
    }
    return replace(run, overrides={**run.overrides, **told})


def final(options: MatrixOptions, reward: str, prompts: str | tuple[str, ...]) -> Measure:
    """Of a finished model: the trained reward and the truth, on held-out prompts."""
    truth = (options.experiments.truth,) if options.experiments.truth else ()
    return options.measure(prompts, metrics=(reward, *truth), count=options.count or MEASURED)


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """The models before, and every method; ``budget`` is in reward queries."""
    measures = {FINAL: final(options, options.experiments.tasks[TASK].reward, options.experiments.unseen)}
    made = [options.base(kind, measures, "methods") for kind in options.experiments.bases]
    for method in TITLES:
        for seed in options.repetitions():
            run = method_run(options, method, f"methods-{method}--{seed}", options.budget or QUERIES, {})
            made.append(replace(watched(options, run), measures=measures, seed=seed))
    return tuple(made)


def base_of(result: Result, run: RunRecord, target: str) -> RunRecord | None:
    """The model that a run of ``target`` started from, as it was measured."""
    bases = [other for other in result.runs if re.fullmatch(f"base-.*-{target}", other.name)]
    return next((base for base in bases if _model(base) == _model(run)), None)


def _model(run: RunRecord) -> str:
    """The name of the model that it started from."""
    return Run(run.name, run.recipe, overrides_of(run)).config().model.name


def overrides_of(run: RunRecord) -> dict[str, Any]:
    """What its arguments told it."""
    from kedge.config.text import read_yaml

    told = dict(argument.partition("=")[::2] for argument in run.arguments)
    return {key: read_yaml(value, key) for key, value in told.items()}


def show(result: Result) -> Exhibit:
    """Reward against queries and against time, the truth against queries; and what it took, as a table."""
    figure, (queries, time, truth) = canvas(3, size=(4.2, 3.4))
    trained, true = _watched(result)
    methods = {title: same for title, same in grouped(result.runs).items() if title in TITLES.values()}
    scale, unit = time_unit([run for same in methods.values() for run in same])
    for (title, same), colour in zip(methods.items(), COLOURS, strict=False):
        _line(queries, same, "queries", trained, colour, title)
        _line(time, same, "seconds", trained, colour, title, scale)
        if true:
            _line(truth, same, "queries", true, colour, title)
    queries.set(xlabel="reward queries", ylabel="aesthetic score, held-out prompts")
    time.set(xlabel=f"training time, {unit}", ylabel="aesthetic score, held-out prompts")
    truth.set(xlabel="reward queries", ylabel="oracle: the true preference")
    legend(queries)
    return Exhibit((table(result),), figure)


def _watched(result: Result) -> tuple[str, str | None]:
    """The log's names of the trained reward and of the truth."""
    reward = f"held_out/{result.facts['rewards'].get(TASK, TASK)}"
    return reward, f"held_out/{result.facts['truth']}" if result.facts.get("truth") else None


def _line(axes: Axes, same: Sequence[RunRecord], x: str, y: str, colour: str, label: str, scale: float = 1.0) -> None:
    """The mean over seeds at each evaluation, and their standard deviation."""
    where, value = points_over_seeds(same, x, y)
    mean, spread = value.mean(0), value.std(0, ddof=1) if len(value) > 1 else None
    axes.plot(where / scale, mean, "-o", color=colour, label=label, markersize=3.5, linewidth=1.6)
    if spread is not None:
        axes.fill_between(where / scale, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)


def table(result: Result) -> Table:
    """Each method before and after."""
    rows, groups = {}, grouped([run for run in result.runs if run.title in TITLES.values()])
    for title, same in groups.items():
        base = base_of(result, same[0], "methods")
        if base and (cells := row(same, base)):
            rows[title] = cells
    return before_and_after("Method", rows, max(map(len, groups.values()), default=1))


def before_and_after(corner: str, rows: Mapping[str, tuple[Cell | None, ...]], seeds: int) -> Table:
    """A table of :func:`row`."""
    heads = ("before", "after", "difference", "oracle's difference", "queries", "minutes", "peak memory, MB")
    note = (
        "± is half of the 95 % interval over the held-out prompts; differences are paired (same prompts, same noise). "
        f"Bold: beyond chance. {'One seed' if seeds == 1 else f'Mean of {seeds} seeds'}; oracle: the true preference."
    )
    return Table(corner, heads, tuple(heads), tuple(rows.items()), note=note)


def row(same: Sequence[RunRecord], base: RunRecord, role: str = FINAL) -> tuple[Cell | None, ...] | None:
    """Before and after on held-out prompts, the paired difference, the truth's; queries, minutes, memory.

    Args:
        same: repetitions of one run.
        role: what was measured, in the runs and in ``base``.

    Returns:
        None if something is not measured yet.
    """
    done = [run for run in same if role in run.evaluations]
    if not done or role not in base.evaluations:
        return None
    changes = compare(merged([run.evaluations[role] for run in done], "after"), base.evaluations[role]).rewards
    clear = [Cell(change.difference, style="signed", bold=change.rose or change.fell) for change in changes]
    return (
        Cell(changes[0].theirs),
        Cell(changes[0].ours),
        clear[0],
        clear[1] if len(clear) > 1 else None,
        replace(point(float(np.mean([run.series("step", "queries")[1][-1] for run in done]))), digits=0),
        replace(point(float(np.mean([run.seconds for run in done])) / 60), digits=1),
        replace(point(float(np.median([run.series("step", "peak_memory_mb")[1].max() for run in done]))), digits=0),
    )


PROTOCOL = (
    "Every method's emoji preset, its learning rate chosen by one protocol (`kedge reproduce tuning`): the largest of "
    "three that does not break the model, on other prompts and another seed."
)
METHODS = Target(
    "ROCM, RLCM, DDPO, DPOK and D3PO on one reward", "the comparison of both papers", runs, show, protocol=PROTOCOL
)

"""Every method on one reward: how soon it rises, how far it gets, in what time and memory, and what the truth does.

Each method takes what tuning chose for it, for the same number of reward queries. Test prompts are scored as it trains,
from one noise; that counts towards neither its queries nor its time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kedge.evaluation.statistics import Speedup
from kedge.evaluation.tables import Cell, Table, display
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import COLOURS, Exhibit, canvas, legend
from kedge_papers.records.curves import points_over_seeds, time_unit
from kedge_papers.records.result import Result
from kedge_papers.records.rows import Naming, Row, difference, rows, several_seeds, spanned, title_of, unit_note
from kedge_papers.records.run_record import RunRecord
from kedge_papers.records.speed import LEVELS, shown_ratio, sooner, timed_alike
from kedge_papers.records.tables import COSTS, costs, grouped, not_run, point, whole
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NO_ANCHOR = "No-Regularization"  # Table 1's title
FINAL, WATCHED = "final", "watched"  # what models are measured as
LOOKED_AT = 66  # test prompts that are scored while it trains, one picture each


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """The models before, and every method; ``budget`` is in reward queries."""
    experiments, comparison = options.experiments, options.experiments.comparison
    measures = {FINAL: options.measure()}
    before = {**measures, WATCHED: options.measure(comparison.watched)} if comparison.watched else measures
    matrix = [options.base(kind, before, "methods") for kind in experiments.bases]
    truth = (experiments.truth,) if experiments.truth else ()
    watched = (*experiments.judges(comparison.reward), *truth)
    prompts, count = (comparison.watched, None) if comparison.watched else (experiments.test, LOOKED_AT)
    for method in comparison.methods:
        recipe, overrides = options.method(method, comparison.reward)
        seeds = options.repetitions()
        for seed in seeds[: -(-len(seeds) // 2)] if method in comparison.fewer else seeds:
            name, title = f"methods-{method}--{seed}", experiments.methods[method].title
            run = options.with_queries(
                Run(name, recipe, overrides, title, measures=measures, seed=seed), options.budget or comparison.queries
            )
            matrix.append(options.watched(run, comparison.evaluations, prompts, watched, count))
    return tuple(matrix)


def show(result: Result) -> Exhibit:
    """Reward against queries and against time, the truth against queries; speed and the ends as tables."""
    methods = grouped(result.trained)
    if not methods:
        return Exhibit()
    trained, truth = trained_metric(result.runs), str(result.facts.get("truth") or "")
    figure, (queries, time, true) = canvas(3, size=(4.2, 3.4))
    scale, unit = time_unit(result.trained)
    first = next(iter(methods.values()))[0]
    for (title, same), colour in zip(methods.items(), COLOURS, strict=False):
        draw_line(queries, same, "queries", f"held_out/{trained}", colour, title)
        # Seconds of another machine do not belong on this axis.
        timed = [run for run in same if timed_alike([first, run])]
        draw_line(time, timed, "seconds", f"held_out/{trained}", colour, title, scale)
        draw_line(true, same, "queries", f"held_out/{truth}", colour, title)
    reward = f"{display(trained).title}, test prompts"
    queries.set(xlabel="reward queries", ylabel=reward)
    time.set(xlabel=f"training time on one machine, {unit}", ylabel=reward)
    true.set(xlabel="reward queries", ylabel=display(truth).title if truth else "")
    legend(queries)
    tables = [speed_table(result, methods), before_and_after(result.runs, FINAL, trained)]
    return Exhibit(tuple(filter(None, tables)), figure)


def trained_metric(runs: Sequence[RunRecord]) -> str:
    """What the runs were trained on."""
    for run in runs:
        if run.trained:
            return str(run.config["reward"])
    raise ValueError("no run was trained")


def draw_line(
    axes: Axes, same: Sequence[RunRecord], x: str, y: str, colour: str, label: str, scale: float = 1.0
) -> None:
    """The mean over seeds at each evaluation, and their standard deviation."""
    where, value = points_over_seeds(same, x, y)
    if not len(where):
        return
    mean, spread = value.mean(0), value.std(0, ddof=1) if len(value) > 1 else None
    axes.plot(where / scale, mean, "-o", color=colour, label=label, markersize=3.5, linewidth=1.6)
    if spread is not None:
        axes.fill_between(where / scale, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)


def level_unit(result: Result) -> float | None:
    """The standard deviation of the consistency model's scores of the trained reward: what levels are measured in.

    On the prompts that curves are drawn on, where those are others than the test's.
    """
    trained = trained_metric(result.runs)
    for run in result.runs:
        measured = run.evaluations.get(WATCHED) or run.evaluations.get(FINAL)
        if not run.trained and "consistency" in run.name and measured is not None:
            return Row(run.title, {0: measured}, trained=False).deviation(trained)
    return None


def speed_table(result: Result, methods: Mapping[str, Sequence[RunRecord]]) -> Table | None:
    """How many times more queries and time each method took than the first, to each level; None of one alone."""
    unit, curve = level_unit(result), f"held_out/{trained_metric(result.runs)}"
    if unit is None or len(methods) < 2:
        return None
    (first, ours), *others = methods.items()
    lines, late, counts = [], [], []
    for title, theirs in others:
        cells: list[Cell | None] = []
        for level in LEVELS:
            for x in ("queries", "seconds"):
                speed = sooner(ours, theirs, x, curve, level * unit)
                cells.append(ratio_cell(speed))
                counts += [len(speed.log_ratios)] if speed else []
                if speed and x == "queries" and (speed.ours_censored or speed.theirs_censored):
                    who = f"{first} in {speed.ours_censored}, {title} in {speed.theirs_censored}"
                    late.append(f"{who} of {len(speed.log_ratios)} to +{level:g}")
        lines.append((title, tuple(cells)))
    heads = tuple(f"{what}, +{level:g} sd" for level in LEVELS for what in ("queries", "time"))
    note = (
        f"What each took over what {first} took (above 1: {first} is sooner), to a rise of so many standard deviations "
        f"of the base model's scores ({unit:.3g}) on test prompts; geometric mean over {spanned(counts or [0])} seeds "
        "and its 95 % interval. Bold: not 1 beyond chance. A dash: hardly anybody got there, or (time) nothing says "
        "that their hardware was the same."
    )
    if NO_ANCHOR in methods:
        note += f" {NO_ANCHOR}: ROCM without an anchor."
    if late:
        note += " Not reached within the budget, which then counts in its place: "
        note += f"{'; '.join(late)}."
    return Table("Method", heads, heads, tuple(lines), f"Queries and time, as multiples of what {first} takes", note)


def ratio_cell(speed: Speedup | None) -> Cell | None:
    """A ratio for a table; bold if it is not 1 beyond chance."""
    shown = shown_ratio(speed) if speed else None
    return Cell(shown, style="times", bold=shown.excludes(1)) if shown else None


def before_and_after(
    runs: Sequence[RunRecord], role: str, trained: str, corner: str = "Method", name: Naming = title_of
) -> Table | None:
    """Each method: the trained reward before and after, the change of every metric, and what it cost."""
    measured, groups = rows(runs, role, name), grouped(runs, name)
    before = {}
    for run in runs:
        if not run.trained and role in run.evaluations:
            before[run.base.get("digest")] = name(run)
    lines, shown, metrics = [], [], [trained]
    for title, row in measured.items():
        base = measured.get(before.get(groups[title][0].base.get("digest"), ""))
        if not row.trained or base is None or not row.has(trained):
            continue
        shown.append((title, row, base))
        metrics += filter(base.has, row.metrics())
    metrics = list(dict.fromkeys(metrics))
    for title, row, base in shown:
        changes = [_change(row, base, metric) for metric in metrics]
        lines.append((title, (Cell(base.mean(trained)), Cell(row.mean(trained)), *changes, *_spent(groups[title]))))
    if not lines:
        return None
    changed = tuple(f"Δ {display(metric).title}" for metric in metrics)
    heads = (f"{display(trained).title} before", "after", *changed, *COSTS.values(), "Minutes", "Memory, MB")
    note = (
        f"{unit_note([row for _, row, _ in shown])} Δ: paired difference to the model before (same prompts, same "
        f"noise); bold: not 0 beyond chance. {not_run(runs)}"
    ).rstrip()
    return Table(corner, heads, heads, tuple(lines), note=note)


def _change(row: Row, base: Row, metric: str) -> Cell | None:
    if not (row.has(metric) and base.has(metric)):
        return None
    apart = difference(row, base, metric)
    return Cell(apart, style="signed", bold=several_seeds(row, base) and apart.excludes(0))


def _spent(same: Sequence[RunRecord]) -> tuple[Cell | None, ...]:
    counted = whole(same) or list(same)
    minutes = point(float(np.mean([run.seconds for run in counted])) / 60, digits=1)
    peaks = []
    for run in counted:
        memory = run.series("step", "peak_memory_mb")[1]
        if not len(memory):
            return (*costs(same), minutes, None)
        peaks.append(memory.max())
    return (*costs(same), minutes, point(float(np.median(peaks)), digits=0))


METHODS = Target("Every method on one reward", "the comparison of both papers", runs, show)

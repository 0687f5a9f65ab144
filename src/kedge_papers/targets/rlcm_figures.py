"""RLCM's Figures 3 to 8, drawn from the records of :mod:`kedge_papers.targets.rlcm_runs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kedge.evaluation.statistics import mean_interval
from kedge.evaluation.tables import Cell, Table
from kedge_papers.pages.exhibit import COLOURS, Exhibit, canvas, legend
from kedge_papers.pages.pictures import arranged, picture_grid
from kedge_papers.records.curves import draw_band, running, steps_in, time_unit
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord
from kedge_papers.records.speed import LEVELS, sooner
from kedge_papers.records.tables import grouped, point, scores_table
from kedge_papers.runner.target import Target
from kedge_papers.targets.methods import ratio_cell
from kedge_papers.targets.rlcm_runs import (
    AS_PRESET,
    EIGHTHS,
    FINAL,
    TITLES,
    horizons,
    tasks,
    tasks_and_bases,
    tasks_and_models,
    unseen,
)

TASKS = ("compression", "incompression", "aesthetic", "alignment")
SMOOTHED = 160  # queries of a running mean


def of_task(result: Result, task: str, method: str) -> list[RunRecord]:
    """All seeds of a method on a task."""
    return result.starting(f"{task}-{method}--")


def recorded_tasks(result: Result) -> list[str]:
    """Those that have runs, in the paper's order."""
    recorded = []
    for task in TASKS:
        if result.starting(f"{task}-"):
            recorded.append(task)
    return recorded


def show_pictures(result: Result) -> Exhibit:
    """Figure 3: for each task, both models before, and what DDPO and RLCM made of them."""
    grids = []
    for task in recorded_tasks(result):
        names = [f"base-diffusion-{task}", f"{task}-ddpo--0", f"base-consistency-{task}", f"{task}-rlcm--0"]
        runs = []
        for name in names:
            run = result.run(name)
            if run is not None:
                runs.append((run.title, run))
        grids.append(picture_grid(result, runs, FINAL, title=task, note=""))
    return Exhibit(figure=arranged(grids, columns=2))


def learning_curves(x: str) -> Callable[[Result], Exhibit]:
    """Figures 4 (``queries``) and 5 (``seconds``): a panel a task, two methods; what each reached, and how soon."""

    def show(result: Result) -> Exhibit:
        names = recorded_tasks(result)
        if not names:
            return Exhibit()
        figure, axes = canvas(len(names), size=(3.6, 3.0))
        for panel, task in zip(axes, names, strict=True):
            scale, unit = time_unit(result.starting(f"{task}-")) if x == "seconds" else (1.0, "reward queries")
            for (method, title), colour in zip(TITLES.items(), COLOURS, strict=False):
                same = of_task(result, task, method)
                window = steps_in(SMOOTHED, same[0]) if same else 1
                draw_band(panel, same, x, "reward", colour=colour, label=title, scale=scale, window=window)
            panel.set_title(task, fontsize=9)
            panel.set(xlabel=f"training, {unit}" if x == "seconds" else unit)
        axes[0].set_ylabel(f"reward, mean of {SMOOTHED} queries")
        legend(axes[0])
        return Exhibit((_learning_table(result, x),), figure)

    return show


def _learning_table(result: Result, x: str) -> Table:
    """For each task: the rise of both methods, and how many times more DDPO took to the same levels."""
    lines, seeds = [], 1
    for task in recorded_tasks(result):
        rlcm, ddpo = of_task(result, task, "rlcm"), of_task(result, task, "ddpo")
        seeds = max(seeds, len(rlcm))
        unit, cells = _deviation(result, task), [_rise(rlcm), _rise(ddpo)]
        for level in LEVELS:
            speed = sooner(_smoothed(rlcm), _smoothed(ddpo), x, "reward", level * unit) if unit else None
            cells.append(ratio_cell(speed))
        lines.append((task, tuple(cells)))
    heads = ("RLCM rose by", "DDPO rose by", *(f"DDPO / RLCM, {x} to +{level:g} sd" for level in LEVELS))
    note = (
        f"Training rewards on training prompts, means of {SMOOTHED} queries, above each method's own start; sd: of the "
        "consistency model's scores, where it was measured. A method that does not get there counts with its budget. "
        "Time is compared on hardware of one name alone. "
    )
    note += f"95 % intervals over {seeds} seeds." if seeds > 1 else "One seed: nothing here tells the methods apart."
    return Table("Task", heads, heads, tuple(lines), note=note)


def _smoothed(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs with running means in place of their rewards."""
    smooth = []
    for run in runs:
        rewards = np.array(run.curve["reward"], dtype=float)  # NaN for None
        known = ~np.isnan(rewards)
        rewards[known] = running(rewards[known], steps_in(SMOOTHED, run))[0]
        column = rewards.astype(object)
        column[~known] = None
        smooth.append(replace(run, curve={**run.curve, "reward": column.tolist()}))
    return smooth


def _rise(runs: Sequence[RunRecord]) -> Cell | None:
    """From the first to the last running mean, with its interval over seeds."""
    rises = []
    for run in _smoothed(runs):
        _, rewards = run.series("step", "reward")
        if len(rewards):
            rises.append(float(rewards[-1] - rewards[0]))
    return Cell(mean_interval(rises), style="signed") if rises else None


def _deviation(result: Result, task: str) -> float | None:
    """Standard deviation of the consistency model's scores on the task's prompts; None if it was not measured."""
    base = result.run(f"base-consistency-{task}")
    if base is None or FINAL not in base.evaluations:
        return None
    scores = next(iter(base.evaluations[FINAL].scores.values()))
    return float(scores.std(ddof=1))


def show_inference(result: Result) -> Exhibit:
    """Figure 6: the reward of the finished models against the time that a picture takes."""
    from matplotlib.ticker import LogLocator

    names = recorded_tasks(result)
    if not names:
        return Exhibit()
    figure, axes = canvas(len(names), size=(3.6, 3.0))
    for panel, task in zip(axes, names, strict=True):
        for (method, title), colour in zip(TITLES.items(), COLOURS, strict=False):
            runs = of_task(result, task, method)
            points = []
            for n in EIGHTHS:
                summary = _at(runs, f"{n}-of-8")
                if summary is not None:
                    points.append(summary)
            if points:
                x, y, spread = zip(*points, strict=True)
                panel.errorbar(x, y, spread, marker="o", markersize=4, capsize=2, color=colour, label=title)
        panel.set_title(task, fontsize=9)
        panel.set(xlabel="seconds for a picture", xscale="log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("")
    axes[0].set_ylabel("reward")
    legend(axes[0])
    return Exhibit(figure=figure)


def _at(runs: Sequence[RunRecord], role: str) -> tuple[float, float, float] | None:
    """Seconds for a picture, mean reward, and the spread over seeds (with one seed: the interval's half width)."""
    seconds, intervals = [], []
    for run in runs:
        evaluation, note = run.evaluations.get(role), run.notes.get(role, {})
        if evaluation is not None and evaluation.scores and "seconds_per_picture" in note:
            seconds.append(note["seconds_per_picture"])
            intervals.append(evaluation.interval(next(iter(evaluation.scores))))
    if not intervals:
        return None
    means = [interval.value for interval in intervals]
    spread = float(np.std(means, ddof=1)) if len(means) > 1 else intervals[0].half_width
    return float(np.mean(seconds)), float(np.mean(means)), spread


def show_horizons(result: Result) -> Exhibit:
    """Figure 7: left, learning with 2, 4 and 8 sampling steps; right, how long a picture takes then."""
    figure, (left, right) = canvas(2)
    groups: dict[str, Any] = grouped(result.runs)
    for (title, runs), colour in zip(groups.items(), COLOURS, strict=False):
        draw_band(left, runs, "queries", "reward", colour=colour, label=title)
    left.set(xlabel="reward queries", ylabel="reward, running mean")
    legend(left)
    rows = []
    for (title, runs), colour in zip(groups.items(), COLOURS, strict=False):
        summary = _at(runs, FINAL)
        if summary is not None:
            right.bar(title, summary[0], color=colour)
            rows.append((title, (point(summary[0]), point(summary[1]))))
    right.set_ylabel("seconds for a picture")
    table = Table("Horizon", ("Seconds for a picture", "Reward"), ("seconds", "reward"), tuple(rows))
    return Exhibit((table,), figure)


def show_unseen(result: Result) -> Exhibit:
    """Figure 8: prompts that training never saw, before and after; and the training prompts beside them."""
    metrics: dict[str, None] = {}
    for run in result.runs:
        for evaluation in run.evaluations.values():
            metrics |= dict.fromkeys(evaluation.scores)
    tables = []
    for role, title in (("unseen", "Prompts never seen in training"), (FINAL, "Prompts of training")):
        tables.append(scores_table(result, result.runs, role, list(metrics), title))
    columns = []
    for run in result.runs:
        if run.seed == 0:
            columns.append((run.title, run))
    return Exhibit(tuple(tables), picture_grid(result, columns, "unseen"))


FIG3 = Target(
    "What each task's training does to the pictures",
    "RLCM, Figure 3",
    tasks_and_bases,
    show_pictures,
    pictures=True,
    protocol=AS_PRESET,
)
FIG4 = Target(
    "Reward against reward queries",
    "RLCM, Figure 4",
    tasks_and_models,
    learning_curves("queries"),
    protocol=AS_PRESET,
)
FIG5 = Target(
    "Reward against training time",
    "RLCM, Figure 5",
    tasks_and_models,
    learning_curves("seconds"),
    protocol=AS_PRESET,
)
FIG6 = Target("Reward against inference time", "RLCM, Figure 6", tasks, show_inference, protocol=AS_PRESET)
FIG7 = Target("Sampling steps: quality and time", "RLCM, Figure 7", horizons, show_horizons, protocol=AS_PRESET)
FIG8 = Target(
    "Prompts never seen in training", "RLCM, Figure 8", unseen, show_unseen, pictures=True, protocol=AS_PRESET
)

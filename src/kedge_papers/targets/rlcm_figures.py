"""RLCM's Figures 3 to 8, drawn from the records of :mod:`kedge_papers.targets.rlcm_runs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kedge.evaluation.tables import Cell, Table
from kedge_papers.pages.exhibit import COLOURS, Exhibit, canvas, legend
from kedge_papers.pages.pictures import arranged, picture_grid
from kedge_papers.records.curves import draw_band, first_reaching, over_seeds, time_unit
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord
from kedge_papers.records.tables import grouped, point, scores_table
from kedge_papers.runner.target import Target
from kedge_papers.targets.rlcm_runs import EIGHTHS, FINAL, TITLES, horizons, tasks, tasks_and_bases, unseen

TASKS = ("compression", "incompression", "aesthetic", "alignment")


def of_task(result: Result, task: str, method: str) -> list[RunRecord]:
    """All seeds of a method on a task."""
    return [run for run in result.runs if run.name.startswith(f"{task}-{method}--")]


def show_pictures(result: Result) -> Exhibit:
    """Figure 3: for each task, both models before, and what DDPO and RLCM made of them."""
    grids = []
    for task in TASKS:
        names = [f"base-diffusion-{task}", f"{task}-ddpo--0", f"base-consistency-{task}", f"{task}-rlcm--0"]
        runs = [(run.title, run) for name in names if (run := result.run(name))]
        grids.append(picture_grid(result, runs, FINAL, title=task, note=""))
    return Exhibit(figure=arranged(grids, columns=2))


def learning_curves(x: str) -> Callable[[Result], Exhibit]:
    """Figures 4 (``queries``) and 5 (``seconds``): four panels, two methods, and when each gets as far as the other."""

    def show(result: Result) -> Exhibit:
        figure, axes = canvas(4, size=(3.6, 3.0))
        rows = []
        for panel, task in zip(axes, TASKS, strict=True):
            runs = [run for method in TITLES for run in of_task(result, task, method)]
            scale, unit = time_unit(runs) if x == "seconds" else (1.0, "reward queries")
            for (method, title), colour in zip(TITLES.items(), COLOURS, strict=False):
                draw_band(panel, of_task(result, task, method), x, "reward", colour=colour, label=title, scale=scale)
            panel.set_title(task, fontsize=9)
            panel.set(xlabel=f"training, {unit}" if x == "seconds" else unit)
            rows.append(_speed(result, task, x))
        axes[0].set_ylabel("reward, running mean")
        legend(axes[0])
        return Exhibit((_speeds(rows, x),), figure)

    return show


def _speed(result: Result, task: str, x: str) -> tuple[str, float | None, float | None]:
    """At which x DDPO ends, and at which RLCM has risen as much above its own start."""
    ddpo, rlcm = (of_task(result, task, method) for method in ("ddpo", "rlcm"))
    grid, mean, _ = over_seeds(ddpo, x, "reward")
    if not len(grid):
        return task, None, None
    _, ours, _ = over_seeds(rlcm, x, "reward")
    best = int(np.argmax(mean))
    reached = first_reaching(rlcm, x, "reward", ours[0] + mean[best] - mean[0]) if len(ours) else None
    return task, float(grid[best]), reached


def _speeds(rows: Sequence[tuple[str, float | None, float | None]], x: str) -> Table:
    def cell(value: float | None) -> Cell | None:
        return None if value is None else point(value)

    shown = tuple(
        (task, (cell(theirs), cell(ours), cell(theirs / ours if theirs and ours else None)))
        for task, theirs, ours in rows
    )
    heads = ("DDPO at its best", "RLCM after the same rise", "factor")
    note = f"In {x}; a rise is that of the running mean of 20 steps above its own start."
    return Table("Task", heads, ("ddpo", "rlcm", "factor"), shown, note=note)


def show_inference(result: Result) -> Exhibit:
    """Figure 6: the reward of the finished models against the time that a picture takes."""
    from matplotlib.ticker import LogLocator

    figure, axes = canvas(4, size=(3.6, 3.0))
    for panel, task in zip(axes, TASKS, strict=True):
        for (method, title), colour in zip(TITLES.items(), COLOURS, strict=False):
            runs = of_task(result, task, method)
            points = [_at(runs, f"{n}-of-8") for n in EIGHTHS]
            known = [point for point in points if point]
            if known:
                x, y, spread = zip(*known, strict=True)
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
    found = [run for run in runs if role in run.evaluations and "seconds_per_picture" in run.notes.get(role, {})]
    scored = [run for run in found if run.evaluations[role].scores]
    if not scored:
        return None
    intervals = [run.evaluations[role].interval(next(iter(run.evaluations[role].scores))) for run in scored]
    means = [interval.value for interval in intervals]
    spread = float(np.std(means, ddof=1)) if len(means) > 1 else intervals[0].half_width
    return float(np.mean([run.notes[role]["seconds_per_picture"] for run in scored])), float(np.mean(means)), spread


def show_horizons(result: Result) -> Exhibit:
    """Figure 7: left, learning with 2, 4 and 8 sampling steps; right, how long a picture takes then."""
    figure, (left, right) = canvas(2)
    groups: dict[str, Any] = grouped(result.runs)
    for (title, runs), colour in zip(groups.items(), COLOURS, strict=False):
        draw_band(left, runs, "queries", "reward", colour=colour, label=title)
    left.set(xlabel="reward queries", ylabel="reward, running mean")
    legend(left)
    known = [(title, found) for title, runs in groups.items() if (found := _at(runs, FINAL))]
    if known:
        right.bar([title for title, _ in known], [found[0] for _, found in known], color=COLOURS[: len(known)])
    right.set_ylabel("seconds for a picture")
    rows = tuple((title, (point(found[0]), point(found[1]))) for title, found in known)
    table = Table("Horizon", ("Seconds for a picture", "Reward"), ("seconds", "reward"), rows)
    return Exhibit((table,), figure)


def show_unseen(result: Result) -> Exhibit:
    """Figure 8: prompts that training never saw, before and after; and the training prompts beside them."""
    tables, metrics = (
        [],
        list(dict.fromkeys(m for run in result.runs for e in run.evaluations.values() for m in e.scores)),
    )
    for role, title in (("unseen", "Prompts never seen in training"), (FINAL, "Prompts of training")):
        tables.append(scores_table(result, result.runs, role, metrics, title))
    columns = [(run.title, run) for run in result.runs if run.seed == 0]
    return Exhibit(tuple(tables), picture_grid(result, columns, "unseen"))


FIG3 = Target(
    "What each task's training does to the pictures", "RLCM, Figure 3", tasks_and_bases, show_pictures, pictures=True
)
FIG4 = Target("Reward against reward queries", "RLCM, Figure 4", tasks, learning_curves("queries"))
FIG5 = Target("Reward against training time", "RLCM, Figure 5", tasks, learning_curves("seconds"))
FIG6 = Target("Reward against inference time", "RLCM, Figure 6", tasks, show_inference)
FIG7 = Target("Sampling steps: quality and time", "RLCM, Figure 7", horizons, show_horizons)
FIG8 = Target("Prompts never seen in training", "RLCM, Figure 8", unseen, show_unseen, pictures=True)

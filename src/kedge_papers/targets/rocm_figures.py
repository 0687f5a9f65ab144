"""ROCM's Figures 2 (pictures), 4 (hacking as β falls), 5 (reward against time) and 6 (styles of over-optimising)."""

from __future__ import annotations

from dataclasses import replace

from kedge.evaluation.statistics import Interval
from kedge.evaluation.tables import Cell, Table, display
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import COLOURS, Exhibit, canvas, colours, legend
from kedge_papers.pages.pictures import SAME, arranged, picture_grid
from kedge_papers.records.curves import draw_band, time_unit
from kedge_papers.records.result import Result
from kedge_papers.records.rows import rows, unit_note, win_rate
from kedge_papers.records.run_record import RunRecord
from kedge_papers.records.speed import timed_alike
from kedge_papers.records.tables import grouped
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.hacking import sweep
from kedge_papers.targets.hacking_tables import by_strength
from kedge_papers.targets.rocm_tables import (
    AT_EQUAL_QUERIES,
    FINAL,
    PICTURES,
    bases,
    consistency_base,
    part_of,
    table1,
    trained_on,
)

# Figure 5's panels, in its order.
PANELS = {"A": "clipscore", "B": "aesthetic", "C": "pickscore", "D": "hpsv2"}
SWEPT = "pickscore"  # the paper does not say which reward its Figure 4 was trained on
PASSES_NOTE = (
    "Against network passes, of which all methods had the same budget: the runs are of several machines, whose seconds "
    "do not belong on one axis."
)
HACKED = 4.0  # Figure 6, row A: this many budgets


def fig2(options: MatrixOptions) -> tuple[Run, ...]:
    """Table 1a's runs of the last seed, and the base models. Asked for one seed more, it trains some of its own."""
    last = options.repetitions()[-1]
    runs = (run for run in trained_on(options, "hpsv2") if not run.name.startswith(AT_EQUAL_QUERIES))
    return (*bases(options), *(run for run in runs if run.seed == last))


def show_fig2(result: Result) -> Exhibit:
    """Base models and Table 1a's methods, and how each run that is shown was scored."""
    seeds = sorted({run.seed for run in result.trained})
    trained = f"Trained on HPSv2, seed {', '.join(map(str, seeds))}. " if seeds else ""
    columns = [(run.title, run) for run in result.runs]
    figure = picture_grid(result, columns, FINAL, note=f"{trained}{SAME}")
    return Exhibit((part_of(result, "a"),) if result.on("hpsv2") else (), figure)


def fig4(options: MatrixOptions) -> tuple[Run, ...]:
    """KL at every β on one reward: that part of the over-optimisation matrix."""
    return (consistency_base(options), *sweep(options, SWEPT))


def preferences(result: Result) -> list[tuple[str, dict[str, Interval]]]:
    """β → share of pictures that the reward model, and the truth, prefer to the base model's from the same noise."""
    measured = rows(result.runs, FINAL)
    base = next((row for row in measured.values() if not row.trained), None)
    points = []
    for title in by_strength(result.trained):
        row, rates = measured.get(title), {}
        if row is None or base is None:
            continue
        for judge in _judges(result):
            if row.has(judge):
                rates[judge] = win_rate(row, base, judge)
        if rates:
            points.append((title, rates))
    return points


def _judges(result: Result) -> list[str]:
    judges = list(dict.fromkeys(str(run.config["reward"]) for run in result.trained))
    if result.facts["truth"]:
        judges.append(result.facts["truth"])
    return judges


def show_fig4(result: Result) -> Exhibit:
    """Both preferences against β, strong regularisation on the left as in the paper."""
    points = preferences(result)
    if not points:
        return Exhibit()
    figure, (axes,) = canvas(size=(6.4, 3.8))
    for judge, colour in zip(_judges(result), COLOURS, strict=False):
        x, y, below, above = [], [], [], []
        for i, (_, rates) in enumerate(points):
            if judge in rates:
                rate = rates[judge].scaled(100)
                x.append(i)
                y.append(rate.value)
                below.append(rate.value - rate.low)
                above.append(rate.high - rate.value)
        axes.errorbar(
            x, y, [below, above], marker="o", markersize=4, capsize=2, color=colour, label=display(judge).title
        )
    axes.axhline(50, color="black", linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(points)), [beta for beta, _ in points])
    axes.set(xlabel="β, falling to the right", ylabel="preferred to the base model, %")
    legend(axes)
    lines = []
    for beta, rates in points:
        lines.append((beta, tuple(Cell(rate, style="percent") for rate in rates.values())))
    judges = list(points[0][1]) if points else []
    heads = tuple(display(judge).title for judge in judges)
    measured = []
    for row in rows(result.runs, FINAL).values():
        if row.trained:
            measured.append(row)
    note = (
        "Share of pictures preferred to the base model's from the same noise, every picture counted, with its 95 % "
        f"interval. {unit_note(measured).partition(': ')[2] or unit_note(measured)}"
    )
    title = f"KL, trained on {display(_judges(result)[0]).title}"
    return Exhibit((Table("β", heads, tuple(judges), tuple(lines), title, note),), figure)


def show_fig5(result: Result) -> Exhibit:
    """A panel for each reward that was trained on, every method: against time, or passes if machines were several."""
    ours, panels = result.facts["rewards"], dict[str, dict[str, list[RunRecord]]]()
    for letter, reward in PANELS.items():
        runs = [run for run in result.on(reward) if not run.name.startswith(AT_EQUAL_QUERIES)]  # the same, sooner ended
        if runs:
            panels[f"{letter}: {display(ours[reward]).title}"] = grouped(runs)
    if not panels:
        return Exhibit()
    timed, columns = timed_alike(result.trained), 2 if len(panels) == len(PANELS) else len(panels)
    figure, axes = canvas(columns, len(panels) // columns)
    shared = colours(title for methods in panels.values() for title in methods)
    for panel, (name, methods) in zip(axes, panels.items(), strict=True):
        scale, unit = time_unit([run for same in methods.values() for run in same])
        for title, same in methods.items():
            # A step of a method is so many passes, whatever the seed.
            along, unit_of = ("seconds", scale) if timed else ("step", 1000 / same[0].passes)
            draw_band(panel, same, along, "reward", colour=shared[title], label=title, scale=unit_of)
        panel.set_title(name, fontsize=9)
        xlabel = f"training, {unit}" if timed else "thousand network passes"
        panel.set(xlabel=xlabel, ylabel="reward, running mean of 20 steps")
    legend(*axes)
    return Exhibit(figure=figure, notes=() if timed else (PASSES_NOTE,))


def fig6(options: MatrixOptions) -> tuple[Run, ...]:
    """The aesthetic score and the 45 animals: each divergence for one budget (its best) and for several (hacked)."""
    measures = {FINAL: options.measure(options.experiments.animals, keep=PICTURES)}
    runs = []
    for row, times in (("best", 1.0), ("hacked", HACKED)):
        for method in options.experiments.methods:
            if options.experiments.methods[method].overrides.get("algorithm.divergence"):
                run = options.row(method, "aesthetic", 0, measures)
                renamed = replace(
                    run, name=f"{row}-{method}", overrides={**run.overrides, "prompts": options.experiments.animals}
                )
                runs.append(options.with_passes(renamed, times))
    return tuple(runs)


def show_fig6(result: Result) -> Exhibit:
    """A, over-optimised; B, at its best."""
    grids = []
    for row, title in (("hacked", "A: over-optimised"), ("best", "B: at its best")):
        runs = [(run.title, run) for run in result.starting(f"{row}-")]
        grids.append(picture_grid(result, runs, FINAL, title))
    return Exhibit(figure=arranged(grids, columns=2))


FIG2 = Target(
    "The same prompts and noise: base models and Table 1a's methods", "ROCM, Figure 2", fig2, show_fig2, pictures=True
)
FIG4 = Target("Reward hacking as β falls", "ROCM, Figure 4", fig4, show_fig4)
FIG5 = Target("Reward against training time", "ROCM, Figure 5", table1("cdba"), show_fig5)
FIG6 = Target(
    "What over-optimised pictures look like, for each divergence", "ROCM, Figure 6", fig6, show_fig6, pictures=True
)

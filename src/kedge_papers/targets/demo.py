"""The demo over several seeds: the preset as it ships, before and after, on captions of no training."""

from __future__ import annotations

from dataclasses import replace

from kedge.evaluation.tables import Cell, Table, display
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import Exhibit
from kedge_papers.records.result import Result
from kedge_papers.records.rows import difference, rows, several_seeds, unit_note, win_rate
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.methods import FINAL, trained_metric

RECIPE, PROMPTS, PICTURES = "emoji-rocm", "emoji-activities-held-out", 2
BEFORE, AFTER = "base", "tuned"


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """The base model, and the preset with every seed."""
    trained = Run("demo--0", RECIPE, {}, AFTER)
    config = trained.config()
    metrics = (config.reward, *options.experiments.judges("pickscore"), *config.watch.metrics)
    measure = options.measure(PROMPTS, metrics=tuple(dict.fromkeys(metrics)), samples=PICTURES, seed=0)
    base = replace(options.base("consistency", {FINAL: measure}, "demo"), label=BEFORE)
    quiet = options.quiet(replace(trained, measures={FINAL: measure}))
    return (base, *(replace(quiet, name=f"demo--{seed}", seed=seed) for seed in options.repetitions()))


def show(result: Result) -> Exhibit:
    """Metrics down; before, after, the paired difference and the share of pictures that score higher."""
    measured = rows(result.runs, FINAL)
    if not {BEFORE, AFTER} <= set(measured):
        return Exhibit()
    before, after = measured[BEFORE], measured[AFTER]
    trained, lines = trained_metric(result.runs), []
    for metric in after.metrics():
        shown, apart, wins = display(metric), difference(after, before, metric), win_rate(after, before, metric)
        name = f"{shown.header} (trained on)" if metric == trained else shown.header
        sure = several_seeds(after, before)
        cells = (
            Cell(before.mean(metric), shown.scale),
            Cell(after.mean(metric), shown.scale),
            Cell(apart, shown.scale, style="signed", bold=sure and apart.excludes(0)),
            Cell(wins, style="percent", digits=0, bold=sure and wins.excludes(0.5)),
        )
        lines.append((name, cells))
    heads = (BEFORE, AFTER, "difference", f"higher than {BEFORE}")
    note = f"{unit_note([after])} The difference is paired (same prompts, same noise); bold: beyond chance."
    return Exhibit((Table("reward", heads, heads, tuple(lines), note=note),))


DEMO = Target("The demo over several seeds", "`make demo`", runs, show, protocol="The preset as it ships.")

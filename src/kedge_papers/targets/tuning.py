"""How the emoji presets' learning rates were chosen: one protocol, the same for every method.

Three learning rates, a short and equal budget of reward queries, a seed of its own. The largest rate wins that does not
break the model: at which the truth does not fall beyond chance. The rate that raises the trained reward most would be
the wrong one: a ruined picture can score high. Measured on prompts that neither trainings nor comparisons use.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kedge.evaluation.comparison import Change, compare
from kedge.evaluation.tables import Cell, Table
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import COLOURS, Exhibit, canvas, legend
from kedge_papers.records.curves import running
from kedge_papers.records.result import Result
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.methods import FINAL, TASK, TITLES, base_of, final, method_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATES = (1e-3, 3e-3, 1e-2)
QUERIES = 256
SEED = 1000  # far from those of the comparisons
MEASURED = 48
SMOOTHED = 64  # queries


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """The models before, and every method with every rate; ``budget`` is in reward queries."""
    experiments = options.experiments
    measures = {
        FINAL: replace(
            final(options, experiments.tasks[TASK].reward, experiments.test), count=options.count or MEASURED
        )
    }
    made = [options.base(kind, measures, "tuning") for kind in experiments.bases]
    for method in TITLES:
        for rate in RATES:
            for seed in options.repetitions():
                name = f"tuning-{method}-{rate:g}--{seed}"
                anchor = {"algorithm.beta": 1e-3} if method == "rocm" else {}  # too weak, as it showed
                told = {"optimizer.lr": rate, "watch.evaluate_every": 0, **anchor}
                run = method_run(options, method, name, options.budget or QUERIES, told)
                made.append(replace(run, measures=measures, seed=SEED + seed))
    return tuple(made)


def show(result: Result) -> Exhibit:
    """Methods down, rates across: how the trained reward and the truth changed; the chosen runs side by side."""
    note = (
        "Paired difference to the model before; ± is half of its 95 % interval over the prompts. Bold: chosen, the "
        "largest rate at which the truth does not fall beyond chance, or the smallest rate."
    )
    heads, keys = tuple(f"learning rate {rate:g}" for rate in RATES), tuple(f"{rate:g}" for rate in RATES)
    tables = []
    for metric, title in ((0, "The trained reward"), (1, "The truth: the oracle")):
        rows = tuple((name, _cells(result, method, metric)) for method, name in TITLES.items())
        tables.append(Table("Method", heads, keys, rows, title, note))
    return Exhibit(tuple(tables), _figure(result))


def _figure(result: Result) -> Figure:
    """The chosen runs side by side: reward of the training batches against queries and against time."""
    figure, panels = canvas(2)
    for (method, title), colour in zip(TITLES.items(), COLOURS, strict=False):
        run = result.run(f"tuning-{method}-{chosen(result, method):g}--0")
        for panel, x in zip(panels, ("queries", "seconds"), strict=True):
            where, reward = run.series(x, "reward") if run else (np.empty(0), np.empty(0))
            if run and len(where):
                mean, _ = running(reward, max(1, round(SMOOTHED / run.queries)))
                panel.plot(where, mean, color=colour, label=title, linewidth=1.6)
    panels[0].set(xlabel="reward queries", ylabel=f"reward, mean of the last {SMOOTHED}")
    panels[1].set(xlabel="training time, seconds")
    legend(panels[0])
    return figure


def chosen(result: Result, method: str) -> float:
    """The largest rate at which the truth does not fall beyond chance; the smallest if it always does."""
    whole = [rate for rate in RATES if (both := changes(result, method, rate)) and not both[-1].fell]
    return max(whole, default=min(RATES))


def changes(result: Result, method: str, rate: float) -> tuple[Change, ...]:
    """Of the trained reward and the truth, first seed; empty if the run is not there."""
    run = result.run(f"tuning-{method}-{rate:g}--0")
    base = base_of(result, run, "tuning") if run else None
    if not (run and base and FINAL in run.evaluations and FINAL in base.evaluations):
        return ()
    return compare(run.evaluations[FINAL], base.evaluations[FINAL]).rewards


def _cells(result: Result, method: str, metric: int) -> tuple[Cell | None, ...]:
    best = chosen(result, method)
    found = {rate: changes(result, method, rate) for rate in RATES}
    return tuple(
        Cell(each[metric].difference, style="signed", bold=rate == best) if len(each) > metric else None
        for rate, each in found.items()
    )


PROTOCOL = (
    "The emoji presets, three learning rates each, seed 1000. ROCM with KL at β = 1e-3, which turned out too weak: its "
    "comparison keeps the preset's β."
)
TUNING = Target(
    "How the methods' learning rates were chosen", "no table: neither paper says how", runs, show, protocol=PROTOCOL
)

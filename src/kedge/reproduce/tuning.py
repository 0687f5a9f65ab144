"""How the emoji presets' learning rates were chosen: one protocol, the same for every method.

Three learning rates, a short and equal budget of reward queries, a seed of its own; the rate that raises the trained
reward most wins. It is measured on prompts that neither the trainings nor the comparisons use.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kedge.evaluation.comparison import compare
from kedge.evaluation.tables import Cell, Table
from kedge.reproduce.methods import FINAL, TASK, TITLES, base_of, final, method_run
from kedge.reproduce.records import Result
from kedge.reproduce.runs import Run
from kedge.reproduce.settings import Settings
from kedge.reproduce.show import save_tables
from kedge.reproduce.target import Target

RATES = (1e-3, 3e-3, 1e-2)
QUERIES = 256
SEED = 1000  # far from those of the comparisons
MEASURED = 48


def runs(settings: Settings) -> tuple[Run, ...]:
    """The models before, and every method with every rate; ``budget`` is in reward queries."""
    world = settings.world
    measures = {FINAL: replace(final(settings, world.tasks[TASK].reward, world.test), count=settings.count or MEASURED)}
    made = [settings.base(kind, measures, "tuning") for kind in world.bases]
    for method in TITLES:
        for rate in RATES:
            for seed in settings.repetitions():
                name = f"tuning-{method}-{rate:g}--{seed}"
                told = {"optimizer.lr": rate, "watch.evaluate_every": 0}
                run = method_run(settings, method, name, settings.budget or QUERIES, told)
                made.append(replace(run, measures=measures, seed=SEED + seed))
    return tuple(made)


def show(result: Result, folder: Path) -> list[Path]:
    """Methods down, rates across: the paired difference to the model before."""
    rows = []
    for method, title in TITLES.items():
        cells = tuple(_cell(result, method, rate) for rate in RATES)
        best = max((cell for cell in cells if cell), key=lambda cell: cell.interval.value, default=None)
        rows.append((title, tuple(cell and replace(cell, bold=cell is best) for cell in cells)))
    heads = tuple(f"learning rate {rate:g}" for rate in RATES)
    note = "Paired difference of the trained reward; ± is half of its 95 % interval over the prompts. Bold: chosen."
    table = Table("Method", heads, tuple(f"{rate:g}" for rate in RATES), tuple(rows), note=note)
    return save_tables([table], folder, "tuning")


def _cell(result: Result, method: str, rate: float) -> Cell | None:
    """Of the first seed."""
    run = result.run(f"tuning-{method}-{rate:g}--0")
    base = base_of(result, run, "tuning") if run else None
    if not (run and base and FINAL in run.evaluations and FINAL in base.evaluations):
        return None
    return Cell(compare(run.evaluations[FINAL], base.evaluations[FINAL]).rewards[0].difference, style="signed")


TUNING = Target("How the methods' learning rates were chosen", "neither paper says how", runs, show)

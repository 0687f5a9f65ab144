"""Reward hacking, shown: the trained reward against the true preference, with and without regularisation.

The oracle is the emoji world's true preference and is never trained on. Each run goes along its curve from the
base model's point; where a curve turns down while it still goes right, the model has begun to cheat.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kedge.evaluation.tables import Table
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import COLOURS, Exhibit, canvas, legend
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord
from kedge_papers.records.tables import point
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS = 240
BETAS = {"none": 0.0, "kl": 0.05}
TRAINED, TRUE = "held_out/pickscore@emoji", "held_out/oracle"


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """The preset as it is, and with KL; ``budget`` is in optimizer steps."""
    told = {"training.steps": int(options.budget or STEPS), **(options.overrides or {})}
    made = []
    for name, beta in BETAS.items():
        label = f"KL, β = {beta:g}" if beta else "no regularisation"
        run = Run(name, "emoji-hacking", {**told, "algorithm.beta": beta}, label)
        made += [replace(run, name=f"hacking-{name}-{seed}", seed=seed) for seed in options.repetitions()]
    return tuple(made)


def show(result: Result) -> Exhibit:
    """Oracle against trained reward, and the oracle against steps."""
    figure, (left, right) = canvas(2)
    titles = list(dict.fromkeys(run.title for run in result.runs))
    for run in result.runs:
        colour = COLOURS[titles.index(run.title)]
        label = run.title if run.seed == 0 else None
        (steps, trained), (_, true) = run.series("step", TRAINED), run.series("step", TRUE)
        left.plot(trained, true, "-o", color=colour, markersize=4, label=label)
        right.plot(steps, true, "-", color=colour, label=label)
    _mark_base(result.runs[0], left, right)
    left.set(xlabel="trained reward (PickScore), held-out prompts", ylabel="oracle: the true preference")
    right.set(xlabel="optimizer steps", ylabel="oracle")
    legend(left)
    legend(right)
    return Exhibit((table(result),), figure)


def table(result: Result) -> Table:
    """Before, where the oracle is highest, and at the end."""
    rows = []
    for run in result.runs:
        (steps, trained), (_, true) = run.series("step", TRAINED), run.series("step", TRUE)
        if len(true):
            best = int(np.argmax(true))
            shown = [(trained[0], 2), (true[0], 3)]
            for i in (best, len(true) - 1):
                shown += [(steps[i], 0), (trained[i], 2), (true[i], 3)]
            cells = tuple(point(float(value), digits) for value, digits in shown)
            rows.append((f"{run.title}, seed {run.seed}", cells))
    heads = ("reward before", "oracle before", "step of its peak", "reward", "oracle", "last step", "reward", "oracle")
    keys = ("reward_0", "oracle_0", "peak", "reward_peak", "oracle_peak", "last", "reward_last", "oracle_last")
    note = "Means over the held-out prompts, always from the same noise. Reward: PickScore, which is trained on."
    return Table("Run", heads, keys, tuple(rows), note=note)


def _mark_base(run: RunRecord, left: Axes, right: Axes) -> None:
    (_, trained), (_, true) = run.series("step", TRAINED), run.series("step", TRUE)
    if len(true):
        left.plot(trained[0], true[0], "k*", markersize=12, label="base model")
        right.axhline(true[0], color="black", linewidth=0.8, linestyle=":", label="base model")


PROTOCOL = "The preset as it is, and with KL at a β chosen by hand to show what it does. Nothing here compares methods."
HACKING = Target(
    "Reward hacking: trained reward and true preference",
    "ROCM, Figure 4's subject, along single runs",
    runs,
    show,
    protocol=PROTOCOL,
)

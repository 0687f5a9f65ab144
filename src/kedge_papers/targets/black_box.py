"""Rewards without a gradient: a policy gradient, hybrid, and ROCM on the surrogate alone, judged by the reward itself.

Each is tuned by the protocol, by the true reward on the tuning prompts; no judge has a say, because a file size is no
matter of taste.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from kedge.evaluation.tables import Cell, Table, display
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import Exhibit, canvas, colours, legend
from kedge_papers.records.result import Result
from kedge_papers.records.rows import Row, difference, rows, several_seeds
from kedge_papers.records.run_record import RunRecord
from kedge_papers.records.speed import sooner
from kedge_papers.records.tables import point
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.methods import before_and_after, draw_line, ratio_cell

PREFIX, WATCHED = "black-box", 66
POLICY_GRADIENT, HYBRID = "rlcm", "hybrid"


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """The model before, and every method on every reward; none where no reward lacks a gradient.

    ``budget`` is in reward queries.
    """
    experiments, box = options.experiments, options.experiments.black_box
    if box is None:
        return ()
    truth = (experiments.truth,) if experiments.truth else ()
    measures, matrix = {}, list[Run]()
    for reward, surrogate in box.rewards.items():
        judges = (experiments.rewards["clipscore"], *truth)
        measures[reward] = options.measure(metrics=(reward, surrogate, *judges))
        for method in box.methods:
            recipe, overrides = options.method(method, reward)
            title = experiments.method_of(method, reward).title
            for seed in options.repetitions():
                name, own = f"{PREFIX}-{method}--{reward}--{seed}", {reward: measures[reward]}
                run = Run(name, recipe, overrides, title, measures=own, seed=seed)
                run = options.with_queries(run, options.budget or box.queries)
                other = surrogate if overrides["reward"] == reward else reward  # what it trains on is watched anyway
                matrix.append(
                    options.watched(run, box.evaluations, prompts=experiments.test, metrics=(other,), count=WATCHED)
                )
    return (options.base("consistency", measures, PREFIX), *matrix)


def show(result: Result) -> Exhibit:
    """For each reward: the reward against queries, how much sooner, and the finished models."""
    rewards = by_reward(result)
    if not rewards:
        return Exhibit()
    figure, panels = canvas(len(rewards), size=(4.6, 3.4))
    tables = []
    shared = colours(method for methods in rewards.values() for method in methods)
    for panel, (reward, methods) in zip(panels, rewards.items(), strict=True):
        for method, same in methods.items():
            draw_line(panel, same, x="queries", y=f"held_out/{reward}", colour=shared[method], label=same[0].title)
        panel.set(xlabel="reward queries", ylabel=f"{display(reward).title}, test prompts")
        everyone = [run for same in methods.values() for run in same]
        bases = [run for run in result.runs if not run.trained]
        ends = before_and_after([*bases, *everyone], reward, reward)
        tables += [sooner_table(reward, methods), replace(ends, title=display(reward).title) if ends else None]
    legend(*panels)
    return Exhibit(tuple(filter(None, tables)), figure)


def by_reward(result: Result) -> dict[str, dict[str, list[RunRecord]]]:
    """Reward → method → its repetitions, by the names of the runs."""
    rewards: dict[str, dict[str, list[RunRecord]]] = {}
    for run in result.trained:
        method, reward, _ = run.name.removeprefix(f"{PREFIX}-").split("--")
        rewards.setdefault(reward, {}).setdefault(method, []).append(run)
    return rewards


def final_rise(runs: Sequence[RunRecord], curve: str) -> float | None:
    """How far a curve has risen by its end, on average over seeds; None without curves."""
    rises = []
    for run in runs:
        _, values = run.series("step", curve)
        if len(values) > 1:
            rises.append(values[-1] - values[0])
    return float(np.mean(rises)) if rises else None


def sooner_table(reward: str, methods: Mapping[str, Sequence[RunRecord]]) -> Table | None:
    """To where the policy gradient ends, how many times fewer queries and less time each other method takes."""
    curve, theirs = f"held_out/{reward}", methods.get(POLICY_GRADIENT, ())
    level = final_rise(theirs, curve)
    if level is None or level <= 0:
        return None
    lines, ends = [], rows([run for same in methods.values() for run in same], reward)
    for method, ours in methods.items():
        if method == POLICY_GRADIENT:
            continue
        speeds = [sooner(ours, theirs, x, curve=curve, rise=level) for x in ("queries", "seconds")]
        shared = point(len(speeds[0].log_ratios) if speeds[0] else 0, digits=0)
        lines.append((ours[0].title, (shared, *map(ratio_cell, speeds), _above(ends, methods, method, reward))))
    if not lines:
        return None
    title = f"{display(reward).title}: sooner than {theirs[0].title}"
    heads = ("Seeds", "Fewer queries", "Less time", f"{HYBRID}'s reward at the end, minus this one's")
    note = (
        f"To the rise of {level:.3g} at which {theirs[0].title} ends, on average over its seeds, on test prompts; "
        "geometric mean over seeds with its 95 % interval. A dash: hardly anybody got there, or "
        "(time) nothing says that their hardware was the same. Bold: beyond chance."
    )
    return Table("Method", heads, heads, rows=tuple(lines), title=title, note=note)


def _above(
    ends: Mapping[str, Row], methods: Mapping[str, Sequence[RunRecord]], method: str, reward: str
) -> Cell | None:
    if method == HYBRID or HYBRID not in methods:
        return None
    hybrid, other = (ends.get(methods[name][0].title) for name in (HYBRID, method))
    if hybrid is None or other is None or not several_seeds(hybrid, other):
        return None
    apart = difference(hybrid, other, reward)
    return Cell(apart, style="signed", bold=apart.excludes(0))


BLACK_BOX = Target("Rewards without a gradient: hybrid", "beyond the papers", runs, show)

"""Over-optimisation: the trained reward against the true preference, for several rewards and strengths of the anchor.

The truth is never trained on. Each run goes along its curve from the base model's point; where the truth turns down
while the trained reward still rises, the model has begun to cheat. Beside the fixed strengths there is one that finds
itself (``algorithm.anchor: auto``), stopped by judges on the tuning prompts: it sees no truth and no test prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kedge.evaluation.tables import display
from kedge.workflows.runner.runs import Measure, Run
from kedge_papers.pages.exhibit import Exhibit, canvas, colours, legend
from kedge_papers.records.curves import points_over_seeds
from kedge_papers.records.result import Result
from kedge_papers.records.rows import Row
from kedge_papers.records.run_record import RunRecord
from kedge_papers.runner.budget import CHECKPOINTS
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.alarm import alarm_table, verdict_table, worth_table
from kedge_papers.targets.hacking_tables import AUTO, drift_column, fit_table, fixed, peak_table
from kedge_papers.targets.regret import AT, regret_table
from kedge_papers.targets.rocm_tables import FINAL, consistency_base

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHOD, WATCHED = "kl", 66
LOOK = 10  # steps between two looks of the judges


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """Every reward at every β; ``budget`` is in optimizer steps."""
    matrix: list[Run] = []
    for reward in options.experiments.sweep.rewards:
        matrix += sweep(options, reward)
        matrix += found(options, reward)
    return (consistency_base(options), *matrix)


def sweep(options: MatrixOptions, reward: str) -> list[Run]:
    """One reward at every β; twice as long and twice as many for the reward that is looked at closest."""
    experiments, plan = options.experiments, options.experiments.sweep
    times = 2 if reward == plan.longer else 1
    truth = (experiments.truth,) if experiments.truth else ()
    watched = (*experiments.that_see_damage(reward), *truth)
    matrix = []
    for beta in plan.betas:
        recipe, overrides = options.method(METHOD, reward)
        overrides["algorithm.beta"] = beta
        for seed in options.repetitions(times):
            name, title = f"beta-{beta:g}--{reward}--{seed}", f"{beta:g}"
            run = Run(name, recipe, overrides, title, measures={FINAL: options.measure()}, seed=seed)
            run = options.with_steps(run, times * int(options.budget or plan.steps))
            matrix.append(options.watched(run, times * plan.evaluations, experiments.test, watched, WATCHED))
    return matrix


def found(options: MatrixOptions, reward: str) -> list[Run]:
    """The same without a β to choose; none where no prompts are there to judge on that are not the tests'."""
    experiments, plan = options.experiments, options.experiments.sweep
    if experiments.tuning is None:
        return []
    times = 2 if reward == plan.longer else 1
    steps, matrix = times * int(options.budget or plan.steps), []
    for seed in options.repetitions(times):
        recipe, overrides = options.method(METHOD, reward)
        overrides["algorithm.anchor"] = "auto"
        run = Run(f"beta-auto--{reward}--{seed}", recipe, overrides, AUTO, seed=seed)
        run = options.with_steps(run, steps)
        run = replace(run, measures={FINAL: options.measure(), **along_the_path(options, run)})
        judges = experiments.that_see_damage(reward)
        run = options.watched(run, steps // LOOK, experiments.tuning, judges, None)
        judged = {"watch.guard": "best", "watch.encoder": "auto", "watch.pictures": 2}
        judged["watch.seed"] = experiments.noise_seed + 1  # as tuning's: the tests' noise is theirs
        judged["checkpoint.keep"] = CHECKPOINTS
        matrix.append(replace(run, overrides={**run.overrides, **judged}))
    return matrix


def along_the_path(options: MatrixOptions, run: Run) -> dict[str, Measure]:
    """The truth at every checkpoint of a run, whatever its judges chose: what its choice is compared with afterwards.

    A run that judges stopped early stands still from there on.
    """
    truth, training = options.experiments.truth, run.config()
    if truth is None:
        return {}
    every, last = training.checkpoint.every, training.training.steps
    measures = {}
    for step in [*range(every, last, every), last]:
        measures[f"{AT}{step}"] = options.measure(metrics=(truth,), at=step)
    return measures


def show(result: Result) -> Exhibit:
    """For each reward: the truth against the drift from the base; and the peaks as a table."""
    rewards, truth = by_reward(result.runs), result.facts["truth"]
    figure, panels = canvas(max(1, len(rewards)), size=(4.2, 3.6))
    shared = strength_colours(result.runs)
    for panel, (reward, same) in zip(panels, rewards.items(), strict=False):
        draw_drift(panel, same, truth or reward, shared)
        panel.set_title(f"trained on {display(reward).title}", fontsize=9)
    legend(*panels)
    if not truth:
        return Exhibit(
            figure=figure, notes=("No model of this world knows the truth: what is drawn is the trained reward.",)
        )
    base = base_row(result)
    tables = [peak_table(rewards, truth), fit_table(rewards), alarm_table(rewards, truth)]
    tables += [worth_table(rewards, base, truth), verdict_table(rewards, base, truth)]
    return Exhibit(tuple(filter(None, [*tables, regret_table(rewards, base, truth)])), figure)


def by_reward(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """What was trained on → its runs."""
    rewards: dict[str, list[RunRecord]] = {}
    for run in runs:
        if run.trained:
            rewards.setdefault(str(run.config["reward"]), []).append(run)
    return rewards


def base_row(result: Result) -> Row | None:
    """The model before training; None if it was not measured."""
    for run in result.runs:
        if not run.trained and FINAL in run.evaluations:
            return Row(run.title, {0: run.evaluations[FINAL]}, trained=False)
    return None


def strength_colours(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Title → colour of each strength of the anchor, whatever was trained on; the strongest first."""
    titles = {run.title for run in runs if run.trained and run.title != AUTO}
    return colours(sorted(titles, key=float, reverse=True))


def draw_drift(axes: Axes, runs: Sequence[RunRecord], metric: str, shared: Mapping[str, str]) -> None:
    """A metric along each strength of the anchor, against the drift from the base; the mean over seeds.

    Args:
        shared: title → colour of a strength, the same in every panel.
    """
    for title, same in fixed(runs).items():
        drift, values = points_over_seeds(same, drift_column(same), f"held_out/{metric}")
        if len(drift):
            label = f"β = {title}" if title[:1].isdigit() else title
            axes.plot(
                np.sqrt(np.maximum(drift, 0)), values.mean(0), "-o", color=shared[title], markersize=3, label=label
            )
    axes.set(xlabel="√KL to the base model (KL in nats)", ylabel=display(metric).title)


HACKING = Target("Over-optimisation: trained reward and true preference", "ROCM, section 4.2", runs, show)

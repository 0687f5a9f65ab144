"""Over-optimisation: the trained reward against the true preference, for several rewards and strengths of the anchor.

The truth is never trained on. Each run goes along its curve from the base model's point; where the truth turns down
while the trained reward still rises, the model has begun to cheat. Beside the fixed strengths there is one that finds
itself (``algorithm.anchor: auto``), stopped by judges on the tuning prompts: it sees no truth and no test prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kedge.evaluation.statistics import Interval, mean_interval
from kedge.evaluation.tables import Cell, Table, display
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import COLOURS, Exhibit, canvas, legend
from kedge_papers.records.curves import points_over_seeds
from kedge_papers.records.peaks import Peak, cross_fitted
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.rocm_tables import FINAL, consistency_base

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHOD, WATCHED = "kl", 66
AUTO, LOOK = "auto", 10  # steps between two looks of the judges
PATH_KL = "path_kl"  # what an evaluation logs of a trajectory


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
        measures = {FINAL: options.measure()}
        run = Run(f"beta-auto--{reward}--{seed}", recipe, overrides, AUTO, measures=measures, seed=seed)
        run = options.with_steps(run, steps)
        judges = experiments.that_see_damage(reward)
        run = options.watched(run, steps // LOOK, experiments.tuning, judges, None)
        judged = {"watch.guard": "best", "watch.encoder": "auto", "watch.pictures": 2}
        judged["watch.seed"] = experiments.noise_seed + 1  # as tuning's: the tests' noise is theirs
        matrix.append(replace(run, overrides={**run.overrides, **judged}))
    return matrix


def show(result: Result) -> Exhibit:
    """For each reward: the truth against the drift from the base; and the peaks as a table."""
    rewards: dict[str, list[RunRecord]] = {}
    for run in result.runs:
        if run.trained:
            rewards.setdefault(str(run.config["reward"]), []).append(run)
    truth = result.facts["truth"]
    figure, panels = canvas(max(1, len(rewards)), size=(4.2, 3.6))
    for panel, (reward, same) in zip(panels, rewards.items(), strict=False):
        _draw(panel, same, truth or reward)
        panel.set_title(f"trained on {display(reward).title}", fontsize=9)
    legend(panels[0])
    if not truth:
        return Exhibit(
            figure=figure, notes=("No model of this world knows the truth: what is drawn is the trained reward.",)
        )
    return Exhibit((table(rewards, truth),), figure)


def strength(run: RunRecord) -> float:
    """A run's β, in the reward's own numbers."""
    algorithm = run.config["algorithm"]
    return float(algorithm["beta"] or 0.0) * float(algorithm.get("beta_unit", 1.0))


def by_strength(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Title → repetitions, from the strongest anchor to none."""
    groups: dict[str, list[RunRecord]] = {}
    for run in sorted(runs, key=lambda run: (-strength(run), run.seed)):
        groups.setdefault(run.title, []).append(run)
    return groups


def _draw(axes: Axes, runs: Sequence[RunRecord], metric: str) -> None:
    for (title, same), colour in zip(by_strength(runs).items(), COLOURS, strict=False):
        drift, values = points_over_seeds(same, drift_column(same), f"held_out/{metric}")
        if len(drift):
            label = f"β = {title}" if title[:1].isdigit() else title
            axes.plot(np.sqrt(np.maximum(drift, 0)), values.mean(0), "-o", color=colour, markersize=3, label=label)
    axes.set(xlabel="√KL to the base model, nats", ylabel=display(metric).title)


def drift_column(runs: Sequence[RunRecord]) -> str:
    """Which column holds the KL of a trajectory to the base: on the test prompts if it was measured there."""
    return PATH_KL if any(PATH_KL in run.curve for run in runs) else "kl"


def table(rewards: dict[str, list[RunRecord]], truth: str) -> Table:
    """How far the truth and the trained reward go after the truth's peak; the peak's step is the other seeds'."""
    lines = []
    for reward, runs in rewards.items():
        for title, same in by_strength(runs).items():
            peak = cross_fitted(same, f"held_out/{reward}", f"held_out/{truth}")
            if peak is not None:
                lines.append((f"{display(reward).title}, {title}", _cells(peak)))
    heads = ("Seeds", "Peak, step", "Truth to its peak", "Truth after it", "Trained reward after it")
    note = (
        "Changes on test prompts from one noise, with the 95 % interval over seeds. The step of a seed's peak is that "
        "at which the mean of the other seeds is highest, so that chance makes no peak; with one seed it is its own, "
        "and proves nothing. Bold: not 0 beyond chance."
    )
    return Table("Trained on, β", heads, heads, tuple(lines), note=note)


def _cells(peak: Peak) -> tuple[Cell | None, ...]:
    changes = [_signed(values) for values in (peak.rise, peak.truth_after, peak.reward_after)]
    seeds = Cell(Interval(len(peak.steps), -np.inf, np.inf, 1), digits=0)
    step = Cell(Interval(float(np.mean(peak.steps)), -np.inf, np.inf, 1), digits=0)
    return seeds, step, *changes


def _signed(values: Sequence[float]) -> Cell:
    interval = mean_interval(list(values))
    return Cell(interval, style="signed", bold=interval.excludes(0))


HACKING = Target("Over-optimisation: trained reward and true preference", "ROCM, section 4.2", runs, show)

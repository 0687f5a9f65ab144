"""RLCM on its four tasks, each by its preset, before and after; and what scoring the last step costs."""

from __future__ import annotations

from dataclasses import replace

from kedge.config import load_config, preset
from kedge.workflows.runner.cost import step_cost
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import Exhibit
from kedge_papers.records.result import Result
from kedge_papers.records.tables import grouped
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.methods import FINAL, PROTOCOL, TASK, before_and_after, final, of_queries, row
from kedge_papers.targets.methods import runs as compared

ALIGNMENT = (
    "The alignment preset has a rate of its own and four times the queries, chosen by its own reward on 64 of the 66 "
    "prompts on which it is measured here."
)
# Title → task and what else it is told. The published code also scores noise that the image never sees.
RUNS = {
    "compression": ("compression", {}),
    "incompression": ("incompression", {}),
    "alignment": ("alignment", {}),
    "compression, last step scored": ("compression", {"algorithm.score_last_step": True}),
}


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """The model before; every task; the aesthetic one is that of the methods' comparison.

    ``budget`` is in reward queries; each preset has its own by default.
    """
    experiments, measures, trained = options.experiments, {}, []
    for title, (task, told) in RUNS.items():
        recipe, reward = experiments.tasks[task].recipe, experiments.tasks[task].reward
        held_out = load_config(preset(recipe).path).watch.held_out
        measures[task] = final(options, reward, held_out.source if held_out else experiments.unseen)
        for seed in options.repetitions():
            run = Run(f"{title.replace(', ', '-').replace(' ', '-')}--{seed}", recipe, told, title, seed=seed)
            run = replace(run, overrides={"reward": reward, "watch.evaluate_every": 0, **told})
            own = step_cost(run.config()).queries * run.config().training.steps
            run = of_queries(options, run, options.budget or own)
            trained.append(replace(run, measures={task: measures[task]}))
    aesthetic = [run for run in compared(options) if run.name.startswith(("methods-rlcm-", "base-consistency-"))]
    return (options.base("consistency", measures, "tasks"), *trained, *aesthetic)


def show(result: Result) -> Exhibit:
    """Each task before and after."""
    tasks = {title: (task, "base-consistency-tasks") for title, (task, _) in RUNS.items()}
    tasks["RLCM"] = (FINAL, "base-consistency-methods")
    rows, groups = {}, grouped(result.runs)
    for title, (role, before) in tasks.items():
        base = result.run(before)
        if title in groups and base and (cells := row(groups[title], base, role)):
            rows[TASK if title == "RLCM" else title] = cells
    seeds = max((len(groups[title]) for title in tasks if title in groups), default=1)
    return Exhibit((before_and_after("Task", rows, seeds),))


TASKS = Target(
    "RLCM's four tasks, before and after; the last step scored",
    "RLCM, Figure 3 in numbers",
    runs,
    show,
    protocol=f"{PROTOCOL} {ALIGNMENT}",
)

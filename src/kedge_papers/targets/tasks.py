"""RLCM on its four tasks, each by its preset, before and after; and what scoring the last step costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kedge.config import load_config, preset
from kedge.workflows.runner.cost import step_cost
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.save import save_tables
from kedge_papers.records.records import Result
from kedge_papers.records.tables import grouped
from kedge_papers.runner.options import Settings
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


def runs(settings: Settings) -> tuple[Run, ...]:
    """The model before; every task; the aesthetic one is that of the methods' comparison.

    ``budget`` is in reward queries; each preset has its own by default.
    """
    world, measures, trained = settings.world, {}, []
    for title, (task, told) in RUNS.items():
        recipe, reward = world.tasks[task].recipe, world.tasks[task].reward
        held_out = load_config(preset(recipe).path).watch.held_out
        measures[task] = final(settings, reward, held_out.source if held_out else world.unseen)
        for seed in settings.repetitions():
            run = Run(f"{title.replace(', ', '-').replace(' ', '-')}--{seed}", recipe, told, title, seed=seed)
            run = replace(run, overrides={"reward": reward, "watch.evaluate_every": 0, **told})
            own = step_cost(run.config()).queries * run.config().training.steps
            run = of_queries(settings, run, settings.budget or own)
            trained.append(replace(run, measures={task: measures[task]}))
    aesthetic = [run for run in compared(settings) if run.name.startswith(("methods-rlcm-", "base-consistency-"))]
    return (settings.base("consistency", measures, "tasks"), *trained, *aesthetic)


def show(result: Result, folder: Path) -> list[Path]:
    """Each task before and after."""
    tasks = {title: (task, "base-consistency-tasks") for title, (task, _) in RUNS.items()}
    tasks["RLCM"] = (FINAL, "base-consistency-methods")
    rows, groups = {}, grouped(result.runs)
    for title, (role, before) in tasks.items():
        base = result.run(before)
        if title in groups and base and (cells := row(groups[title], base, role)):
            rows[TASK if title == "RLCM" else title] = cells
    seeds = max((len(groups[title]) for title in tasks if title in groups), default=1)
    return save_tables([before_and_after("Task", rows, seeds)], folder, "tasks")


TASKS = Target(
    "RLCM's four tasks, before and after; the last step scored",
    "RLCM, Figure 3 in numbers",
    runs,
    show,
    protocol=f"{PROTOCOL} {ALIGNMENT}",
)

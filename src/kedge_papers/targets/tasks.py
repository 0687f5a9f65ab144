"""RLCM on its four tasks, each by its preset, before and after; and what scoring the last step costs."""

from __future__ import annotations

from dataclasses import replace

from kedge.evaluation.tables import Table
from kedge.workflows.runner.cost import step_cost
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import Exhibit
from kedge_papers.records.result import Result
from kedge_papers.runner.experiment_set import Overrides
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.methods import before_and_after, trained_metric
from kedge_papers.targets.rlcm_runs import AS_PRESET

MEASURED = 128  # prompts
# Title → task and further overrides. The published code also scores noise that the image never sees.
RUNS: dict[str, tuple[str, Overrides]] = {
    "compression": ("compression", {}),
    "compression, last step scored": ("compression", {"algorithm.score_last_step": True}),
    "incompression": ("incompression", {}),
    "aesthetic": ("aesthetic", {}),
    "alignment": ("alignment", {}),
}


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """The model before, and every task, measured on prompts of no training.

    ``budget`` is in reward queries; each preset has its own by default.
    """
    experiments = options.experiments
    truth = (experiments.truth,) if experiments.truth else ()
    measures, trained = {}, []
    for title, (task, overrides) in RUNS.items():
        chosen = experiments.tasks[task]
        prompts = experiments.test if task == "alignment" else experiments.unseen
        count = options.count or (None if task == "alignment" else MEASURED)
        measures[task] = options.measure(prompts, metrics=(chosen.reward, *truth), count=count)
        for seed in options.repetitions():
            name = f"{title.replace(', ', '-').replace(' ', '-')}--{seed}"
            run = Run(name, chosen.recipe, {"reward": chosen.reward, **overrides}, title, seed=seed)
            config = run.config()
            own = step_cost(config).queries * config.training.steps
            trained.append(replace(options.with_queries(run, options.budget or own), measures={task: measures[task]}))
    return (options.base("consistency", measures, "tasks"), *trained)


def show(result: Result) -> Exhibit:
    """A table for each task."""
    tables: list[Table] = []
    roles = dict.fromkeys(role for run in result.runs if run.trained for role in run.evaluations)
    for role in roles:
        runs = []
        for run in result.runs:
            if role in run.evaluations:
                runs.append(run)
        table = before_and_after(runs, role, trained_metric(runs), corner="Task")
        tables += [table] if table else []
    return Exhibit(tuple(tables))


TASKS = Target("RLCM's four tasks, before and after", "RLCM, Figure 3 in numbers", runs, show, protocol=AS_PRESET)

"""The runs behind RLCM's figures: RLCM and DDPO on each of the four tasks, for the same number of reward queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kedge.workflows.runner.runs import Measure, Run
from kedge_papers.runner.options import MatrixOptions

FINAL = "final"
PICTURES = 4
PROMPTS, SAMPLES = 50, 2  # 100 trajectories judge a time budget of Figure 6
EIGHTHS = (1, 2, 4, 8)  # of the sampling steps of training, Figure 6
HORIZONS = (2, 4, 8)  # Figure 7
TITLES = {"rlcm": "RLCM", "ddpo": "DDPO"}
AS_PRESET = "Every method takes its own preset for the task; nothing was tuned."


def task_run(
    options: MatrixOptions, task: str, method: str, seed: int, measures: Mapping[str, Measure], **changes: object
) -> Run:
    """RLCM or DDPO on a task. Both take the task's reward and prompts; everything else is their own."""
    wanted = options.experiments.tasks[task]
    recipe = wanted.recipe if method == "rlcm" else options.experiments.methods["ddpo"].recipe
    own = {} if method == "rlcm" else wanted.ddpo
    overrides = {**own, "reward": wanted.reward, "prompts": wanted.prompts, **changes}
    run = Run(f"{task}-{method}--{seed}", recipe, overrides, TITLES[method], measures=measures, seed=seed)
    return options.with_queries(run)


def final(options: MatrixOptions, task: str) -> Measure:
    """The finished model on the task's own prompts: its reward, and the truth where there is one."""
    wanted, experiments = options.experiments.tasks[task], options.experiments
    metrics = (wanted.reward, *([experiments.truth] if experiments.truth else []))
    return options.measure(wanted.prompts, metrics=metrics, keep=PICTURES, timed=True)


def at_fewer_steps(options: MatrixOptions, task: str, run: Run) -> Run:
    """Measured at fewer sampling steps too, and how long a picture takes then."""
    wanted, steps = options.experiments.tasks[task], run.config().model.steps
    options_of_measure = {
        "metrics": (wanted.reward,),
        "count": options.count or PROMPTS,
        "samples": SAMPLES,
        "timed": True,
    }
    fewer = {
        f"{n}-of-8": options.measure(wanted.prompts, steps=max(1, steps * n // 8), **options_of_measure)
        for n in EIGHTHS
    }
    return replace(run, measures={**run.measures, **fewer})


def tasks(options: MatrixOptions) -> tuple[Run, ...]:
    """Both methods on all tasks; Figures 3 to 6 are drawn from the same runs."""
    return tuple(
        at_fewer_steps(options, task, task_run(options, task, method, seed, {FINAL: final(options, task)}))
        for task in options.experiments.tasks
        for method in TITLES
        for seed in options.repetitions()
    )


def tasks_and_models(options: MatrixOptions) -> tuple[Run, ...]:
    """Both methods on all tasks, and the models that they started from."""
    bases = []
    for run in tasks_and_bases(options):
        if not run.train:
            bases.append(run)
    return (*bases, *tasks(options))


def tasks_and_bases(options: MatrixOptions) -> tuple[Run, ...]:
    """Those of the first seed and, for each task's prompts, the models that they started from."""
    bases = []
    for task in options.experiments.tasks:
        for kind in options.experiments.bases:
            bases.append(options.base(kind, {FINAL: final(options, task)}, task))
    return (*bases, *(run for run in tasks(options) if run.seed == 0))


def horizons(options: MatrixOptions) -> tuple[Run, ...]:
    """The aesthetic task with 2, 4 and 8 sampling steps, for the same number of reward queries."""
    numbered = []
    for steps in HORIZONS:
        for seed in options.repetitions():
            run = task_run(
                options, "aesthetic", "rlcm", seed, {FINAL: final(options, "aesthetic")}, **{"model.steps": steps}
            )
            numbered.append((steps, run))
    return tuple(replace(run, name=f"horizon-{n}--{run.seed}", label=f"{n} steps") for n, run in numbered)


def unseen(options: MatrixOptions) -> tuple[Run, ...]:
    """RLCM on the aesthetic task, measured on its own prompts and on others; and the model before."""
    reward = (options.experiments.tasks["aesthetic"].reward,)
    measures = {"unseen": options.measure(options.experiments.unseen, metrics=reward, keep=PICTURES)}
    measures[FINAL] = final(options, "aesthetic")
    trained = [task_run(options, "aesthetic", "rlcm", seed, measures) for seed in options.repetitions()]
    return (options.base("consistency", measures, "aesthetic"), *trained)

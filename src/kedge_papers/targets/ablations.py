"""Two questions that the papers leave open: exact JS against sampled JS, and what scoring RLCM's last step costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import COLOURS, Exhibit, canvas, legend
from kedge_papers.records.curves import draw_band
from kedge_papers.records.result import Result
from kedge_papers.records.tables import grouped, scores_table
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.rlcm_runs import final, task_run
from kedge_papers.targets.rocm_tables import FINAL, bases

REWARD = "pickscore"
EXACT, SAMPLED = "JS, exact", "JS, sampled"
RIGHT, WRONG = "RLCM", "RLCM, last step scored"


def js(options: MatrixOptions) -> tuple[Run, ...]:
    """Table 1's row of JS, and the same with the paper's estimator."""
    measures = {FINAL: options.measure()}
    made = [base for base in bases(replace(options)) if base.name == "base-consistency"]
    for seed in options.repetitions():
        exact = options.row("js", REWARD, seed, measures)
        sampled = {**exact.overrides, "algorithm.divergence": "js_sampled"}
        made.append(replace(exact, name=f"js-exact--{seed}", label=EXACT))
        made.append(replace(exact, name=f"js-sampled--{seed}", label=SAMPLED, overrides=sampled))
    return tuple(made)


def last_step(options: MatrixOptions) -> tuple[Run, ...]:
    """RLCM's aesthetic task, as the paper describes it and as its published code does it."""
    measures, made = {FINAL: final(options, "aesthetic")}, []
    for seed in options.repetitions():
        right = task_run(options, "aesthetic", "rlcm", seed, measures)
        wrong = {**right.overrides, "algorithm.score_last_step": True}
        made.append(replace(right, name=f"last-step-right--{seed}", label=RIGHT))
        made.append(replace(right, name=f"last-step-wrong--{seed}", label=WRONG, overrides=wrong))
    return tuple(made)


def show(x: str, label: str) -> Callable[[Result], Exhibit]:
    """A table of the finished models, and the trained reward while they learnt."""

    def draw(result: Result) -> Exhibit:
        figure, (axes,) = canvas()
        trained = [run for run in result.runs if run.curve.get("reward")]
        for (title, same), colour in zip(grouped(trained).items(), COLOURS, strict=False):
            draw_band(axes, same, x, "reward", colour=colour, label=title)
        axes.set(xlabel=label, ylabel="trained reward, running mean")
        legend(axes)
        metrics = list(dict.fromkeys(m for run in result.runs for e in run.evaluations.values() for m in e.scores))
        table = scores_table(result, result.runs, FINAL, metrics, result.facts["title"])
        return Exhibit((table,), figure)

    return draw


JS = Target("Exact JS against sampled JS", "ROCM, page 4", js, show("step", "optimizer steps"))
LAST_STEP = Target(
    "RLCM with and without the last step's score", "RLCM, section 4", last_step, show("queries", "reward queries")
)

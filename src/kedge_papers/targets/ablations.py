"""Two questions that the papers leave open, by training: exact JS against sampled JS, and RLCM's last step.

What the two cost in noise is measured directly, see :mod:`kedge_papers.targets.estimators`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import COLOURS, Exhibit, canvas, legend
from kedge_papers.records.curves import draw_band
from kedge_papers.records.result import Result
from kedge_papers.records.tables import grouped, scores_table
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.rlcm_runs import AS_PRESET, task_run
from kedge_papers.targets.rocm_tables import FINAL, consistency_base

REWARD = "pickscore"
EXACT, SAMPLED = "JS, exact", "JS, sampled"
RIGHT, WRONG = "RLCM", "RLCM, last step scored"
DRIFT = 10.0  # nats of a trajectory at which both penalties are equal


def js(options: MatrixOptions) -> tuple[Run, ...]:
    """Table 1's row of JS, and the same with the paper's estimator at a β of equal strength."""
    measures = {FINAL: options.measure()}
    matrix = [consistency_base(options)]
    chosen = options.experiments.tuned.get(REWARD, {}).get("kl", {})  # per dimension JS is KL's regulariser
    for seed in options.repetitions():
        exact = options.row("js", REWARD, seed, measures=measures, chosen=chosen)
        rocm = exact.config().algorithm.instance
        beta = rocm.weight / rocm.beta_unit * equal_strength(*_latents(exact))
        sampled = {**exact.overrides, "algorithm.divergence": "js_sampled", "algorithm.beta": float(f"{beta:.3g}")}
        matrix.append(replace(exact, name=f"js-exact--{seed}", label=EXACT))
        matrix.append(replace(exact, name=f"js-sampled--{seed}", label=SAMPLED, overrides=sampled))
    return tuple(matrix)


def _latents(run: Run) -> tuple[int, int]:
    """The model's number of latent dimensions and of stochastic steps."""
    from kedge.planning.skeletons import meta_policy

    model = run.config().model
    policy = meta_policy(model, model.steps)
    if policy is None:
        raise ValueError(f"{model.name}: how large its latents are is not known before its files are here")
    return math.prod(policy.latent_shape), model.steps - 1


def equal_strength(dimensions: int, steps: int, drift: float = DRIFT) -> float:
    """E[exact JS] / E[sampled JS] per latent dimension, when a trajectory is ``drift`` nats from the base.

    Per dimension the sampled ratio is that of mean log-densities, log r ~ N(−δ²/2D, δ²/D²): its expectation is far
    smaller than the exact divergence at δ²/D, about D times for small drifts.
    """
    import torch

    from kedge.divergences import jensen_shannon, quadrature

    squared = 2 * drift / steps  # δ² of one step
    exact = float(quadrature(jensen_shannon, torch.tensor([squared / dimensions], dtype=torch.float64)))
    z = np.linspace(-10, 10, 20001)
    density = np.exp(-(z**2) / 2)
    log_r = torch.from_numpy(-squared / (2 * dimensions) - math.sqrt(squared) / dimensions * z)
    sampled = float((jensen_shannon(log_r).numpy() * density).sum() / density.sum())
    return exact / sampled


def last_step(options: MatrixOptions) -> tuple[Run, ...]:
    """RLCM's aesthetic task, as the paper describes it and as its published code does it, on prompts of no training."""
    reward = options.experiments.tasks["aesthetic"].reward
    truth = (options.experiments.truth,) if options.experiments.truth else ()
    measures = {FINAL: options.measure(options.experiments.unseen, metrics=(reward, *truth), count=options.count or 64)}
    matrix = []
    for seed in options.repetitions():
        right = task_run(options, "aesthetic", "rlcm", seed, measures)
        wrong = {**right.overrides, "algorithm.score_last_step": True}
        matrix.append(replace(right, name=f"last-step-right--{seed}", label=RIGHT))
        matrix.append(replace(right, name=f"last-step-wrong--{seed}", label=WRONG, overrides=wrong))
    return tuple(matrix)


def show(x: str, label: str) -> Callable[[Result], Exhibit]:
    """A table of the finished models, and the trained reward while they learnt."""

    def draw(result: Result) -> Exhibit:
        figure, (axes,) = canvas()
        trained = []
        for run in result.runs:
            if run.curve.get("reward"):
                trained.append(run)
        for (title, same), colour in zip(grouped(trained).items(), COLOURS, strict=False):
            draw_band(axes, same, x, "reward", colour=colour, label=title)
        axes.set(xlabel=label, ylabel="trained reward, running mean")
        legend(axes)
        metrics: dict[str, None] = {}
        for run in result.runs:
            for evaluation in run.evaluations.values():
                metrics |= dict.fromkeys(evaluation.scores)
        table = scores_table(result, result.runs, FINAL, list(metrics), result.facts["title"])
        return Exhibit((table,), figure)

    return draw


JS = Target("Exact JS against sampled JS", "ROCM, page 4", js, show("step", "optimizer steps"))
LAST_STEP = Target(
    "RLCM with and without the last step's score",
    "RLCM, section 4",
    last_step,
    show("queries", "reward queries"),
    protocol=AS_PRESET,
)

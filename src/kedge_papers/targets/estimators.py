"""How noisy the methods' gradients are: pathwise against score function, the last step's term, sampled JS.

No training: independent batches of each algorithm's own gradient, at the base model; for the divergences, which have no
gradient there, at a random adapter ten nats away. Arms share prompts and noise, batch by batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kedge.evaluation.statistics import Interval
from kedge.evaluation.tables import Cell, Table
from kedge.workflows.runner.matrix import Matrix
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import Exhibit
from kedge_papers.records.gradient_noise import GradientNoise, gradient_noise, variance_ratio
from kedge_papers.records.measured_once import measured_once
from kedge_papers.records.result import Result
from kedge_papers.records.tables import point
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.rocm_tables import consistency_base

if TYPE_CHECKING:
    from kedge.algorithms.base import Algorithm, Context
    from kedge.policies.latent import LatentPolicy

BATCHES, SAMPLES = 48, 8
HORIZONS = (1, 2, 4, 8)  # at 1 no step draws noise that a picture shows: pathwise alone
CLIP = 1.0  # as the presets
DRIFT = 10.0  # nats of a trajectory from the base: where the true preference was highest in World 1
PATHWISE, SCORE, LAST = "pathwise (ROCM)", "score function (RLCM)", "score function, last step scored"
EXACT, SAMPLED = "JS, exact", "JS, sampled"


@dataclass(frozen=True)
class NoReward:
    """A reward of 0: what is left of ROCM's gradient is the penalty's."""

    name: str = "nothing"
    differentiable: bool = True

    def __call__(self, images: Any, prompts: Sequence[str]) -> Any:
        """``[B]`` zeros, with a graph."""
        return 0 * images.flatten(1).sum(1)


@dataclass(frozen=True)
class Fixed:
    """The same prompts, whoever takes them."""

    prompts: tuple[str, ...]

    def take(self, count: int) -> list[str]:
        """The first ``count``."""
        return list(self.prompts[:count])

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take up."""


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """The base model; ``budget`` is the number of batches."""
    return (consistency_base(options),)


def measure(options: MatrixOptions, matrix: Matrix, folder: Path) -> Mapping[str, Any]:
    """The noise of every arm; each setting is written down when it is done, and not measured again."""
    settings: dict[str, Callable[[], dict[str, Any]]] = {f"K = {k}": _horizon(options, k) for k in HORIZONS}
    settings["divergences"] = _divergences(options)
    return {
        "settings": measured_once(folder, settings),
        "batches": _batches(options),
        "samples": SAMPLES,
        "drift": DRIFT,
    }


def _batches(options: MatrixOptions) -> int:
    return int(options.budget or BATCHES)


def _horizon(options: MatrixOptions, steps: int) -> Callable[[], dict[str, Any]]:
    """Pathwise and score-function gradients of the trained reward at the base model, with ``steps`` sampling steps."""

    def work() -> dict[str, Any]:
        from kedge.algorithms.ppo import PPO
        from kedge.algorithms.rocm import ROCM
        from kedge.rewards import load_reward

        policy = _policy(options, steps)
        reward = load_reward(options.experiments.rewards[options.experiments.comparison.reward], policy.device)
        scored = PPO(normalise="batch", advantage_clip=None)
        arms: dict[str, Any] = {PATHWISE: ROCM(divergence="none", beta=0.0)}
        if steps > 1:
            arms |= {SCORE: scored, LAST: replace(scored, score_last_step=True)}
        measured = _measured(options, policy, {name: (algorithm, reward) for name, algorithm in arms.items()})
        if steps > 1:
            measured[SCORE]["scored_steps"], measured[LAST]["scored_steps"] = steps - 1, steps
        return measured

    return work


def _divergences(options: MatrixOptions) -> Callable[[], dict[str, Any]]:
    """Gradients of the exact and of the sampled JS penalty, ``DRIFT`` nats from the base."""

    def work() -> dict[str, Any]:
        from kedge.algorithms.rocm import ROCM

        policy = _policy(options, max(HORIZONS))
        move_away(policy, _context(options, policy, NoReward(), 0), DRIFT)
        arms: dict[str, Any] = {
            EXACT: ROCM(divergence="js", beta=1.0),
            SAMPLED: ROCM(divergence="js_sampled", beta=1.0),
        }
        return _measured(options, policy, {name: (algorithm, NoReward()) for name, algorithm in arms.items()})

    return work


def _policy(options: MatrixOptions, steps: int) -> LatentPolicy:
    from kedge.runs.checkpoint import seed_everything
    from kedge.training.assemble import build_policy
    from kedge.training.processes import Processes

    config = consistency_base(options).config()
    seed_everything(options.experiments.first_seed)
    policy = build_policy(replace(config.model, steps=steps), Processes(config.training.device).device)
    return cast("LatentPolicy", policy)


def _context(options: MatrixOptions, policy: LatentPolicy, reward: Any, batch: int) -> Context:
    """The prompts and noise of one batch, the same for every arm."""
    import torch

    from kedge.algorithms.base import Context
    from kedge.prompts import load_prompts

    prompts = load_prompts(options.experiments.train)
    chosen = tuple(prompts[(batch * SAMPLES + i) % len(prompts)] for i in range(SAMPLES))
    generator = torch.Generator().manual_seed(1000 + options.experiments.first_seed + batch)
    return Context(policy, reward, Fixed(chosen), generator, batch_size=SAMPLES)


def _measured(
    options: MatrixOptions, policy: LatentPolicy, arms: Mapping[str, tuple[Algorithm, Any]]
) -> dict[str, Any]:
    measured: dict[str, Any] = {}
    for name, (algorithm, reward) in arms.items():
        gradients, penalties = [], []
        for batch in range(_batches(options)):
            gradient, penalty = batch_gradient(algorithm, _context(options, policy, reward, batch))
            gradients.append(gradient)
            penalties.append(penalty)
        measured[name] = {
            "plain": gradient_noise(gradients).to_dict(),
            "clipped": gradient_noise(gradients, CLIP).to_dict(),
            "penalty": float(np.mean(penalties)),
        }
    return measured


def batch_gradient(algorithm: Algorithm, context: Context) -> tuple[np.ndarray, float]:
    """The gradient of an algorithm's first optimizer step, ``[D]`` float32, and its mean penalty."""
    import torch

    torch.manual_seed(int(context.generator.initial_seed()))  # what sampled JS draws from
    parameters = list(context.policy.trainable())
    for parameter in parameters:
        parameter.grad = None
    penalties = []
    for loss in next(iter(algorithm.updates(context))):
        loss.value.backward()
        if "penalty" in loss.metrics:
            penalties.append(float(torch.as_tensor(loss.metrics["penalty"]).mean()))
    flat = []
    for parameter in parameters:
        gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        flat.append(gradient.flatten())
    return torch.cat(flat).cpu().numpy(), float(np.mean(penalties)) if penalties else 0.0


def move_away(policy: LatentPolicy, context: Context, nats: float) -> None:
    """Give the adapter random weights of the size at which a trajectory's KL to the base is ``nats``, within 2 %."""
    import torch

    from kedge.algorithms.rocm import ROCM

    kl, noise, prompts = ROCM(divergence="kl", beta=1.0), context.noise(SAMPLES), context.prompts.take(SAMPLES)
    assert policy.adapter is not None  # build_policy adds one
    raised = {}
    for name, p in policy.adapter.weights.items():
        if "lora_B" in name:
            raised[name] = p
    directions = {name: torch.randn_like(p) for name, p in raised.items()}
    low, high = 1e-6, 1.0
    for _ in range(60):
        size = (low * high) ** 0.5
        with torch.no_grad():
            for name, parameter in raised.items():
                parameter.copy_(size * directions[name])
            drift = float(kl.evaluate(context, prompts, noise)[1].mean())
        if abs(drift / nats - 1) < 0.02:
            return
        low, high = (size, high) if drift < nats else (low, size)
    raise ValueError(f"no random adapter is {nats} nats from the base: the nearest is {drift:.3g} away")


def show(result: Result) -> Exhibit:
    """How far batches agree, for each estimator; and the two ratios of variances."""
    settings = result.extra.get("settings")
    if settings is None:
        return Exhibit()
    lines, ratios = [], []
    for setting, arms in settings.items():
        for name, arm in arms.items():
            plain, clipped = (GradientNoise.from_dict(arm[key]) for key in ("plain", "clipped"))
            cells = (Cell(plain.agreement()), Cell(clipped.agreement()), point(float(np.median(plain.norm))))
            lines.append((f"{name}, {setting}", cells))
    heads = ("Cosine between batches", "the same, clipped", "Median norm")
    note = (
        f"{result.extra['batches']} independent batches of {result.extra['samples']} pictures, the same prompts and "
        "noise for every estimator; ± is half of the 95 % interval over batches."
    )
    for title, ours, theirs, setting in comparisons(settings):
        ratio = arm_ratio(settings, setting, ours, theirs)
        shown = Interval(math.exp(ratio.value), math.exp(ratio.low), math.exp(ratio.high), ratio.units)
        ratios.append((f"{title}, {setting}", (Cell(shown, style="times", bold=ratio.excludes(0)),)))
    more = (
        "Trace of the gradient's variance, theirs divided by ours; of sums over the scored steps, and sampled JS "
        "scaled to the same mean penalty."
    )
    tables = [
        Table("Estimator", heads, heads, tuple(lines), note=note),
        Table("Ratio of variances", ("Ratio",), ("ratio",), tuple(ratios), note=more),
    ]
    return Exhibit(tuple(tables))


def comparisons(settings: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Title, ours, theirs and setting of each ratio that the page shows."""
    last = []
    for setting, arms in settings.items():
        if LAST in arms:
            last.append(("last step scored / not", SCORE, LAST, setting))
    return [*last, ("sampled / exact JS", EXACT, SAMPLED, "divergences")]


def arm_ratio(settings: Mapping[str, Any], setting: str, ours: str, theirs: str) -> Interval:
    """The logarithm of a ratio of variances, at equal mean penalty where the arms have one.

    A policy gradient's loss is a mean over the steps that it scores. With one step more it is smaller for that alone
    (at K = 2 by a half), so that the sums over steps are compared.
    """
    arm, other = settings[setting][ours], settings[setting][theirs]
    scale = arm["penalty"] / other["penalty"] if other["penalty"] else 1.0
    if "scored_steps" in arm:
        scale = other["scored_steps"] / arm["scored_steps"]
    return variance_ratio(GradientNoise.from_dict(arm["plain"]), GradientNoise.from_dict(other["plain"]), scale)


ESTIMATORS = Target(
    "How noisy the gradients are",
    "no figure: the reason that both papers give",
    runs,
    show,
    measure,
    protocol="None: nothing is trained.",
)

"""How the estimators' noise grows with the number of latents and of sampling steps: measured where the law is known.

A chain with a consistency model's own α and σ, x_{k-1} = α_{k-1} (x_k + θ) + σ_{k-1} ε, whose model is the consistency
function of standard normal data; θ ``[D]`` is what is trained, one number a latent, shared by all steps, 0 at first.
Rewards have a spread that does not depend on D. The algorithms are the library's own.

Per sample, for a reward of one direction w of the picture, u = w · x_0 ~ N(0, 1), R = sin u: the pathwise gradient is
J g'(u) w with a constant J, so that D does not show in its noise; the score function's is (R − b) Σ_k (α/σ) ε_k, whose
noise is that of D independent numbers. Their ratio is of order D. It is of order D² where the reward becomes linear as
D grows, because then nothing is left of the pathwise gradient's noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kedge.evaluation.statistics import Interval
from kedge.evaluation.tables import Cell, Table
from kedge.workflows.runner.matrix import Matrix
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import COLOURS, Exhibit, canvas, legend
from kedge_papers.records.gradient_noise import noise_to_signal
from kedge_papers.records.measured_once import measured_once
from kedge_papers.records.result import Result
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.estimators import PATHWISE, SCORE, Fixed, batch_gradient
from kedge_papers.targets.rocm_tables import consistency_base

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kedge.policies.base import Conditioning

Logs = Sequence[float | None]
BATCHES, SAMPLES = 96, 32
SIZES = (16, 64, 256, 1024, 4096)
STEPS = 8
HORIZONS = (2, 4, 8, 16)
AT = 512  # latents where the horizons are compared
# Stable Diffusion's schedule, which latent consistency models keep.
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
DIRECTION, EVERYWHERE, AVERAGE = "one direction", "every latent alike", "the average, saturating"


class Chain:
    """A :class:`kedge.policies.base.Policy` over latents ``[D, 1, 1]``, which are its pictures."""

    def __init__(self, dimensions: int, steps: int):
        import torch
        from diffusers import LCMScheduler

        from kedge.policies.families.lcm import consistency_schedule

        self.steps = steps
        self.latent_shape: tuple[int, ...] = (dimensions, 1, 1)
        self.device, self.dtype = torch.device("cpu"), torch.float64
        one, zero = torch.ones([], dtype=torch.float64), torch.zeros([], dtype=torch.float64)
        self.schedule = {}
        for k, step in consistency_schedule(LCMScheduler(**SCHEDULE), steps, torch.float64).items():
            # The network's output is the prediction: without the boundary condition of Eq. (7).
            self.schedule[k] = replace(step, c_skip=zero, c_out=one, prediction_type="sample")
        self.theta = torch.nn.Parameter(torch.zeros(self.latent_shape, dtype=torch.float64))
        self._adapted = True

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Nothing to know."""
        import torch

        from kedge.policies.base import Conditioning

        return Conditioning({"row": torch.zeros(len(prompts), 1)})

    def transition(self, x: Tensor, k: int, cond: Conditioning) -> Any:
        """N(α_{k-1} (x_k + θ), σ²_{k-1} I)."""
        return self.schedule[k].gaussian(x, x + self.theta if self._adapted else x)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """θ = 0 inside."""
        before, self._adapted = self._adapted, False
        yield
        self._adapted = before

    def decode(self, x0: Tensor) -> Tensor:
        """The latents."""
        return x0

    def trainable(self) -> Iterable[nn.Parameter]:
        """θ."""
        return [self.theta]


class Toy:
    """A reward of pictures ``[B, D, 1, 1]`` of standard normal numbers."""

    differentiable = True

    def __init__(self, name: str, reward: Callable[[Tensor], Tensor]):
        self.name, self._reward = name, reward

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """``[B]``."""
        return self._reward(images.flatten(1))


REWARDS = {
    DIRECTION: lambda x: (x.sum(1) / x.shape[1] ** 0.5).sin(),
    EVERYWHERE: lambda x: x.sin().sum(1) / x.shape[1] ** 0.5,
    AVERAGE: lambda x: x.shape[1] ** 0.5 * (x.mean(1) + 1).sin(),  # linear where the average hardly varies
}


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """The base model, which nothing is asked of; ``budget`` is the number of batches."""
    return (consistency_base(options),)


def measure(options: MatrixOptions, matrix: Matrix, folder: Path) -> Mapping[str, Any]:
    """The noise of both estimators in every setting; each is written down when it is done, and not measured again."""
    batches = int(options.budget or BATCHES)
    work: dict[str, Callable[[], dict[str, list[float]]]] = {}
    for reward in REWARDS:
        for size in SIZES:
            work[f"{reward}, D = {size}"] = partial(noise_of, reward, dimensions=size, steps=STEPS, batches=batches)
    for steps in HORIZONS:
        work[f"K = {steps}"] = partial(noise_of, DIRECTION, dimensions=AT, steps=steps, batches=batches)
    return {"settings": measured_once(folder, work), "batches": batches, "samples": SAMPLES}


def noise_of(reward: str, dimensions: int, steps: int, batches: int) -> dict[str, list[float]]:
    """Estimator → ln of the samples until noise equals signal: value, low, high."""
    import torch

    from kedge.algorithms.base import Context
    from kedge.algorithms.ppo import PPO
    from kedge.algorithms.rocm import ROCM

    arms: dict[str, Any] = {
        PATHWISE: ROCM(divergence="none", beta=0.0),
        SCORE: PPO(normalise="batch", advantage_clip=None),
    }
    measured = {}
    for name, algorithm in arms.items():
        gradients = np.empty((batches, dimensions))
        for batch in range(batches):
            policy, generator = Chain(dimensions, steps), torch.Generator().manual_seed(1000 + batch)
            toy = Toy(reward, REWARDS[reward])
            context = Context(policy, toy, Fixed(("a",) * SAMPLES), generator, batch_size=SAMPLES)
            gradients[batch] = batch_gradient(algorithm, context)[0]
        ratio = noise_to_signal(gradients)
        measured[name] = [math.log(SAMPLES) + each for each in (ratio.value, ratio.low, ratio.high)]
    return measured


def show(result: Result) -> Exhibit:
    """Samples until noise equals signal: against D with its exponent, and against K."""
    settings = result.extra.get("settings")
    if settings is None:
        return Exhibit()
    figure, (axes,) = canvas(size=(8.4, 4.2))
    lines, colours = [], iter(COLOURS)
    for reward in REWARDS:
        colour = next(colours)
        for estimator, style, short in ((PATHWISE, "-o", "pathwise"), (SCORE, "--s", "score")):
            logs = [settings[f"{reward}, D = {size}"][estimator] for size in SIZES]
            cells, slope = [_cell(values) for values in logs], exponent(SIZES, logs)
            lines.append((f"{estimator}: {reward}", (*cells, Cell(slope, digits=2) if slope else None)))
            heights = np.exp([values[0] for values in logs])
            axes.plot(SIZES, heights, style, color=colour, markersize=4, label=f"{short}, {reward.split(',')[0]}")
    axes.set(xscale="log", yscale="log", xlabel="latents, D", ylabel="samples until noise equals signal")
    legend(axes)
    heads = (*(f"D = {size}" for size in SIZES), "exponent of D")
    note = (
        f"tr Var(g) / ‖E g‖² of one sample's gradient, from {result.extra['batches']} batches of "
        f"{result.extra['samples']}; K = {STEPS}; in brackets, and behind ±, the 95 % interval over batches."
    )
    by_size = Table("Estimator: reward", heads, heads, rows=tuple(lines), note=note)
    return Exhibit((by_size, _horizons(settings)), figure)


def _horizons(settings: Mapping[str, Any]) -> Table:
    heads, lines = tuple(f"K = {steps}" for steps in HORIZONS), []
    for estimator in (PATHWISE, SCORE):
        lines.append((estimator, tuple(_cell(settings[head][estimator]) for head in heads)))
    title = f"{DIRECTION.capitalize()}, D = {AT}"
    return Table("Estimator", heads, heads, rows=tuple(lines), title=title, note="As above.")


def _cell(logs: Logs) -> Cell | None:
    """A dash where the noise hides the signal: records have no infinities, so that bounds are null there."""
    if None in logs or math.inf in logs:
        return None
    value, low, high = np.exp(np.array(logs, dtype=float)).tolist()
    return Cell(Interval(value, low, high, 1), style="range")


def exponent(sizes: Sequence[int], logs: Sequence[Logs]) -> Interval | None:
    """The slope of ln(noise / signal) against ln D by least squares, with the errors of its points."""
    if not all(map(_cell, logs)):
        return None
    x = np.log(sizes) - np.log(sizes).mean()
    weights = x / (x**2).sum()
    values, _, highs = np.array(logs, dtype=float).T
    slope, half = float(weights @ values), float(np.linalg.norm(weights * (highs - values)))
    return Interval(slope, slope - half, slope + half, len(sizes))


DIMENSION = Target(
    "How the estimators' noise grows with the dimension",
    "no figure: the reason that both papers give",
    runs,
    show,
    measure,
    protocol="None: nothing is trained.",
)

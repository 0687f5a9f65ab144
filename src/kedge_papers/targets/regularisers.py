"""Which divergence for which reward: those that are not one regulariser, at one realised distance from the base.

Per dimension KL, Hellinger and JS are the same function of a drift that is used (:mod:`kedge.divergence_strength`), so
no run can find one of them better. These differ: KL itself; Fisher, which weighs the steps by 1/std²; Hellinger summed
over dimensions, which saturates; total variation, which grows with the distance, not with its square; χ² and α = 3/2,
summed, which forbid far steps. ``target`` holds each at the same path KL, so that what is compared is where a
divergence lets the model move, not how strong it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from kedge.divergences import AlphaDivergence
from kedge.workflows.runner.runs import Run
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.ablations import show
from kedge_papers.targets.rocm_tables import FINAL, consistency_base

NATS = 8.0  # where the emoji world's judges were still content with PickScore
REWARDS = ("pickscore", "aesthetic")
Reduction = Literal["sum", "mean"]


@dataclass(frozen=True)
class Regulariser:
    """One arm.

    Attributes:
        name, label: in file names, in tables.
        divergence, reduction: as ``algorithm`` has them.
    """

    name: str
    label: str
    divergence: str
    reduction: Reduction


REGULARISERS = (
    Regulariser("kl", "KL", "kl", "sum"),
    Regulariser("fisher", "Fisher", "fisher", "sum"),
    Regulariser("hellinger-sum", "Hellinger, summed", "hellinger", "sum"),
    Regulariser("tv", "Total variation", "tv", "mean"),
    Regulariser("chi2-sum", "χ², summed", "chi2", "sum"),
    Regulariser("alpha-sum", "α = 3/2, summed", "kedge_papers.targets.regularisers:three_halves", "sum"),
)


def three_halves(reduction: Reduction = "sum") -> AlphaDivergence:
    """The α-divergence of order 3/2."""
    return AlphaDivergence(1.5, reduction)


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """Every regulariser on both rewards, held at :data:`NATS`; beside the base."""
    measures = {FINAL: options.measure()}
    matrix = [consistency_base(options)]
    for reward in REWARDS:
        for seed in options.repetitions():
            row = options.row("kl", reward, seed, measures)
            for arm in REGULARISERS:
                held = {
                    **row.overrides,
                    "algorithm.divergence": arm.divergence,
                    "algorithm.reduction": arm.reduction,
                    "algorithm.beta": None,
                    "algorithm.beta_unit": 1,
                    "algorithm.target": {"nats": NATS},
                }
                name = f"{arm.name}-{reward}--{seed}"
                matrix.append(replace(row, name=name, label=f"{arm.label}, {reward}", overrides=held))
    return tuple(matrix)


REGULARISERS_TARGET = Target(
    "Which divergence for which reward, at one distance", "beyond the papers", runs, show("step", "optimizer steps")
)

"""The order in which experience is visited: optimizer steps, each made of micro-batches of one sampling step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MicroBatch:
    """One call of the network: some trajectories, all at sampling step k.

    Attributes:
        rows: ``[b]`` which trajectories, on the CPU.
        k: the sampling step.
        share: b divided by the visits of the whole optimizer step: its mean loss times this adds up to the step's mean.
    """

    rows: Tensor
    k: int
    share: float


Update = list[MicroBatch]


def schedule(
    samples: int,
    steps: Sequence[int],
    batch_size: int,
    generator: torch.Generator,
    *,
    epochs: int = 1,
    minibatches: int = 1,
    step_fraction: float = 1.0,
) -> list[Update]:
    """Plan the visits to ``samples`` × ``steps``, one entry per optimizer step.

    Each epoch deals the samples afresh into ``minibatches``, and draws for every sample its own random
    ``step_fraction`` of the sampling steps. Within an optimizer step the visits are grouped by sampling step, because
    the network is called with one k at a time; their order there does not change the sum.
    """
    count = visits(len(steps), step_fraction)
    updates = []
    for _ in range(epochs):
        order = torch.randperm(samples, generator=generator, device=generator.device).cpu()
        keys = torch.rand(samples, len(steps), generator=generator, device=generator.device).cpu()
        visited = keys.argsort(1).argsort(1) < count  # [samples, steps]: `count` of each row, at random
        for part in order.chunk(minibatches):
            updates.append(_group(part, visited[part], steps, batch_size))
    return updates


def visits(steps: int, fraction: float) -> int:
    """How many of ``steps`` sampling steps an epoch visits of each sample: their ``fraction``, but one at least."""
    return max(1, round(fraction * steps))


def _group(samples: Tensor, visited: Tensor, steps: Sequence[int], batch_size: int) -> Update:
    total = int(visited.sum())
    batches = []
    for column, k in enumerate(steps):
        for rows in samples[visited[:, column]].split(batch_size):
            if len(rows):
                batches.append(MicroBatch(rows, k, len(rows) / total))
    return batches


def with_last_step(update: Update, batch_size: int, fraction: float, generator: torch.Generator) -> Update:
    """An optimizer step that also visits step 1 of (a random ``fraction`` of) its samples."""
    rows = torch.cat([visit.rows for visit in update]).unique()
    count = max(1, round(fraction * len(rows)))
    chosen = rows[torch.randperm(len(rows), generator=generator, device=generator.device).cpu()[:count].sort().values]
    visits = []
    for visit in update:
        visits.append((visit.rows, visit.k))
    for part in chosen.split(batch_size):
        visits.append((part, 1))
    total = sum(len(part) for part, _ in visits)
    return [MicroBatch(part, k, len(part) / total) for part, k in visits]

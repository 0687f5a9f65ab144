"""Importance ratios p_θ / p_θold that are exactly 1 before the first update."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from kedge.algorithms.schedule import MicroBatch, Update, visits

if TYPE_CHECKING:
    from torch import Tensor


def expected_old_passes(
    samples: int, steps: int, batch_size: int, *, epochs: int, minibatches: int = 1, step_fraction: float = 1.0
) -> float:
    """How many passes :class:`ImportanceRatios` makes for old log-probabilities, beside learning's own; expected.

    Arguments as :func:`~kedge.algorithms.schedule.schedule` has them. A micro-batch is passed through once more if any
    of its samples had not been at this sampling step in an update before it.
    """
    visited = visits(steps, step_fraction)
    first = samples * visited * (1 - 1 / minibatches)  # of the first epoch, all but its first update's
    if visited >= steps:  # every epoch visits them all
        return first
    per_update, share = samples // minibatches, visited / steps
    later = 0.0
    for epoch in range(1, epochs):
        seen = 1 - (1 - share) ** epoch  # each epoch draws a sample's steps afresh
        for rows in range(1, per_update + 1):  # how many of an update's samples are visited at one step
            later += steps * minibatches * _binomial(per_update, rows, share) * _renewed(rows, batch_size, seen)
    return first + later


def _renewed(rows: int, batch_size: int, seen: float) -> float:
    """Expected size of those micro-batches, of ``rows`` samples in all, that hold one not seen before."""
    full, rest = divmod(rows, batch_size)
    return full * batch_size * (1 - seen**batch_size) + rest * (1 - seen**rest)


def _binomial(n: int, k: int, p: float) -> float:
    """The probability of k successes in n tries, 0 < p < 1; by logarithms, which do not overflow."""
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))


class ImportanceRatios:
    """Ratios to the policy that gathered the experience.

    The old log-probability of a visit comes from the very call that needs it: recorded in passing during the first
    optimizer step, and computed in the same micro-batch just before it for the visits that come later. One kept from
    sampling, with other batch sizes or precision, would differ in the last digits, and PPO clips at 1e-4.

    Args:
        plan: all visits that will follow.
        samples, steps: the size of the experience: N and K.
        log_prob: log p_θ of a visit's steps, ``[b]``.
    """

    def __init__(self, plan: Sequence[Update], samples: int, steps: int, log_prob: Callable[[MicroBatch], Tensor]):
        self._old = torch.full((samples, steps + 1), torch.nan, dtype=torch.float64)  # [N, k]; holds float32 exactly
        planned = torch.zeros(samples, steps + 1, dtype=torch.bool)
        for visit in plan[0]:
            planned[visit.rows, visit.k] = True
        for visit in (visit for update in plan[1:] for visit in update):
            if not planned[visit.rows, visit.k].all():
                with torch.no_grad():
                    self._record(visit, log_prob(visit), ~planned[visit.rows, visit.k])
                planned[visit.rows, visit.k] = True

    def __call__(self, visit: MicroBatch, log_prob: Tensor) -> Tensor:
        """``exp(log p_θ − log p_θold)`` from log p_θ, ``[b]``, with graph."""
        self._record(visit, log_prob.detach(), self._old[visit.rows, visit.k].isnan())
        return (log_prob - self._old[visit.rows, visit.k].to(log_prob)).exp()

    def _record(self, visit: MicroBatch, log_prob: Tensor, where: Tensor) -> None:
        old = self._old[visit.rows, visit.k]
        self._old[visit.rows, visit.k] = torch.where(where, log_prob.to(old), old)

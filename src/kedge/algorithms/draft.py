"""DRaFT and AlignProp: the reward's gradient through the last steps only, without or with an anchor.

DRaFT-K (Clark et al. 2023, arXiv 2309.17400) backpropagates through the last K steps; DRaFT-LV draws the noise before
the last step several times, so that the gradient of K = 1 varies less. AlignProp (Prabhudesai et al. 2023, arXiv
2310.03739) draws K anew each time. Both are ROCM with another :class:`~kedge.policies.base.Backprop` and, as published,
no divergence; an anchor may be given as for ROCM. Deviations, numbered: docs/algorithms/draft.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from kedge.algorithms.base import Context, Loss
from kedge.algorithms.checks import check_positive
from kedge.algorithms.rocm import ROCM
from kedge.algorithms.workload import Passes, Workload
from kedge.policies.base import Backprop, Trajectory

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DRaFT(ROCM):
    """ROCM through the last steps, as published without a divergence.

    Attributes:
        through: K, the last steps that the gradient goes through, in place of backprop.last_steps.
        draws: how often the noise before the last step is drawn; 2 with through 1 is DRaFT-LV. Each draw asks the
            reward once, and its gradient goes as far as the first's.
    """

    divergence: str = "none"
    through: int = 1
    draws: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "through", "draws")

    def workload(self, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
        """ROCM's, through K steps, and one more step for each further draw."""
        work = super().workload(batch_size, accumulation, steps, replace(backprop, last_steps=self.through))
        assert work.passes is not None
        more = work.samples * (self.draws - 1) if steps > 1 else 0
        passes = Passes(work.passes.forward + more, work.passes.backward + more, work.passes.reference)
        return replace(work, queries=work.queries + more, passes=passes)

    def _depth(self, context: Context) -> int:
        return self.through

    def _walk(
        self, context: Context, prompts: Sequence[str], noise: Tensor, beta: float
    ) -> tuple[Tensor, Tensor, Trajectory]:
        if context.backprop.random_depth is not None:
            raise ValueError(
                "draft and alignprop say themselves how far the gradient goes: leave out backprop.random_depth, or use "
                "algorithm.name=rocm with divergence=none"
            )
        lent = replace(context, backprop=replace(context.backprop, last_steps=self._depth(context)))
        reward, divergence, trajectory = super()._walk(lent, prompts, noise, beta)
        rewards = [reward]
        for _ in range(self.draws - 1 if context.policy.steps > 1 else 0):
            p = trajectory.step(2)[2]  # with a graph where the gradient goes farther than the last step
            z = torch.randn(noise[0].shape, generator=context.generator, dtype=noise.dtype).to(noise.device)
            last = lent.backprop.transition(context.policy, p.sample(z), 1, trajectory.cond)
            rewards.append(context.reward(context.policy.decode(last.mean), prompts))
        return torch.stack(rewards).mean(0), divergence, trajectory


@dataclass(frozen=True)
class AlignProp(DRaFT):
    """DRaFT whose K is drawn for each micro-batch, from 1 to all steps; ``draws`` is DRaFT's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.through != 1:
            raise ValueError(
                "alignprop draws how far the gradient goes: leave out through, or set algorithm.name=draft"
            )

    def rehearse(self, context: Context) -> Iterator[Iterable[Loss]]:
        """Each K that may be drawn, as DRaFT goes through it."""
        for depth in range(1, context.policy.steps + 1):
            yield from self._fixed(depth).rehearse(context)

    def workload(self, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
        """The mean over K."""
        forward = backward = reference = 0.0
        for depth in range(1, steps + 1):
            work = self._fixed(depth).workload(batch_size, accumulation, steps, backprop)
            assert work.passes is not None
            forward += work.passes.forward / steps
            backward += work.passes.backward / steps
            reference += work.passes.reference / steps
        return replace(work, passes=Passes(forward, backward, reference))

    def _fixed(self, depth: int) -> DRaFT:
        return DRaFT(**{**vars(self), "through": depth})

    def _depth(self, context: Context) -> int:
        return int(torch.randint(1, context.policy.steps + 1, (), generator=context.generator))

"""D3PO: direct preference optimisation over the sampling steps, from pairs that share their first noise.

Yang et al. 2024 (D3PO); the constants of the published code and of SPO. Deviations, numbered: docs/algorithms/d3po.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from kedge.algorithms.base import Context, Loss, Needs
from kedge.algorithms.checks import check_fraction, check_positive
from kedge.algorithms.experience import Experience, collect
from kedge.algorithms.schedule import MicroBatch, schedule, visits
from kedge.algorithms.votes import check_drawing, next_votes, paired_noise, read_votes, seeded_pairs
from kedge.algorithms.workload import Passes, Workload
from kedge.gaussian import Reduction
from kedge.policies.base import Backprop

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class D3PO:
    """−log σ(β (h₁ log ρ₁ + h₂ log ρ₂)) at every step, ρ the ratio to the reference. Rewards need no gradient.

    A micro-batch is batch_size / 2 pairs: batch_size pictures.

    Attributes:
        beta: β, how far a preference may pull, per latent dimension with `mean`: 0.1 in the published code; 10 in SPO,
            which learns with it. It depends on the number D of dimensions: 10 is 6.1e-4 per nat at D = 16,384, 0.02 per
            nat at D = 512. null takes beta_per_nat.
        ratio_clip: ρ, per latent dimension with `mean`, is clamped to 1 ± this; null does not clamp (right with `sum`).
        epochs: how often each pair is visited before new ones are drawn.
        step_fraction: the share of sampling steps that each pair trains on, drawn at random for each.
        sample_batch_size: how many trajectories to sample at once; null takes training.batch_size.
        reduction: log-ratios over latent dimensions: `mean`, which published constants assume, or `sum`, the true ones.
        votes: a file of recorded preferences to learn from instead of the reward's; null asks the reward.
        beta_per_nat: β for each nat of the whole step's log-ratio, the same in any number of dimensions: 6.1e-4 is
            SPO's 10 at D = 16,384 (Stable Diffusion at 512 pixels).
    """

    needs: ClassVar[Needs] = Needs(reference=True, pairs=True, noise=True, one_step=True)

    beta: float | None = None
    ratio_clip: float | None = 0.1
    epochs: int = 1
    step_fraction: float = 1.0
    sample_batch_size: int | None = None
    reduction: Reduction = "mean"
    votes: str | None = None
    beta_per_nat: float = 6.1e-4

    def __post_init__(self) -> None:
        check_positive(self, "beta_per_nat", "beta", "epochs", "sample_batch_size")
        check_fraction(self, "step_fraction")
        if self.ratio_clip is not None and not 0 < self.ratio_clip < 1:
            raise ValueError(f"ratio_clip must lie in (0, 1), or null for none, not {self.ratio_clip}")

    def workload(self, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
        """Whole pairs, visited ``epochs`` times; recorded votes ask no reward, and their pictures are the reference's.

        Raises:
            ValueError: if a micro-batch cannot hold a pair.
        """
        samples = 2 * self._pairs(batch_size) * accumulation
        learnt = samples * visits(steps - 1, self.step_fraction) * self.epochs
        if self.votes:
            passes = Passes(forward=learnt, backward=learnt, reference=samples * steps + learnt)
            return Workload(samples, queries=0, updates=self.epochs, passes=passes)
        passes = Passes(forward=samples * steps + learnt, backward=learnt, reference=learnt)
        return Workload(samples, queries=samples, updates=self.epochs, passes=passes)

    @staticmethod
    def _pairs(batch_size: int) -> int:
        """How many pairs a micro-batch holds."""
        if batch_size < 2:
            raise ValueError("D3PO compares pairs of pictures: set training.batch_size to 2 or more")
        return batch_size // 2

    def updates(self, context: Context) -> Iterator[Iterable[Loss]]:
        """Gather pairs with their preferences, then one optimizer step for each epoch over them."""
        micro = self._pairs(context.batch_size)
        pairs = micro * context.accumulation
        experience, labels = self._voted(context, pairs) if self.votes else self._compared(context, pairs)
        plan = schedule(
            pairs,
            experience.stochastic_steps(),
            micro,
            context.generator,
            epochs=self.epochs,
            step_fraction=self.step_fraction,
        )
        for update in plan:
            yield (self._loss(context, visit, experience, labels[visit.rows]) for visit in update)

    def voted_prompts(self) -> list[str]:
        """The different prompts of the recorded votes; none without votes.

        Raises:
            ValueError: the file is missing, or a line of it is wrong.
        """
        votes = read_votes(self.votes) if self.votes else []
        return list(dict.fromkeys(vote.prompt for vote in votes))

    def _compared(self, context: Context, pairs: int) -> tuple[Experience, Tensor]:
        """Fresh pairs of the current policy, and h₁ ``[pairs]`` by the reward: 1, −1, or 0 for a tie."""
        prompts = context.prompts.take(pairs) * 2
        noise = paired_noise(context.policy, context.generator, pairs)  # the two of a pair start from one x_K
        experience = collect(context, prompts, noise, chunk=self.sample_batch_size or context.batch_size)
        return experience, (experience.rewards[:pairs] - experience.rewards[pairs:]).sign()  # h₁; h₂ = −h₁

    def _voted(self, context: Context, pairs: int) -> tuple[Experience, Tensor]:
        """The pairs of the next recorded votes, drawn by the reference as they were for the raters, and h₁."""
        votes = next_votes(context, read_votes(self.votes or ""), pairs)
        check_drawing(votes, context.policy)
        noise = seeded_pairs(context.policy, [vote.seed for vote in votes])
        prompts = [vote.prompt for vote in votes] * 2
        chunk = self.sample_batch_size or context.batch_size
        experience = collect(context, prompts, noise, chunk=chunk, reference=True, rewarded=False)
        return experience, torch.tensor([vote.label for vote in votes], device=noise.device)

    def _loss(self, context: Context, visit: MicroBatch, experience: Experience, label: Tensor) -> Loss:
        both = torch.cat([visit.rows, visit.rows + len(experience) // 2])
        members = MicroBatch(both, visit.k, visit.share)
        x = experience.x(visit.k - 1)[both]
        log_p = experience.transition(context.policy, members).log_prob(x, self.reduction)  # log p_θ(x_{k-1} | x_k, c)
        log_q = experience.reference(context.policy, members).log_prob(x, self.reduction)  # log p_ref(x_{k-1} | x_k, c)
        ratio = self.clamp(log_p - log_q)  # log ρ
        first, second = ratio.chunk(2)
        margin = self.weight(x[0].numel()) * (label * first - label * second)  # β (h₁ log ρ₁ + h₂ log ρ₂)
        metrics: dict[str, Tensor | float] = {
            "margin": margin.detach(),
            "agrees": ((margin > 0).float() + (margin == 0).float() / 2).detach(),
            "tie": (label == 0).float(),
            "log_ratio": (log_p - log_q).detach().abs(),
        }
        if not self.votes:
            metrics["reward"] = experience.rewards[both]
        return Loss(
            -torch.nn.functional.logsigmoid(margin).mean() * visit.share, metrics
        )  # −log σ(β (h₁ log ρ₁ + h₂ log ρ₂))

    def weight(self, dimensions: int) -> float:
        """β for log-ratios under :attr:`reduction`, of latents of ``dimensions`` numbers."""
        if self.beta is not None:
            return self.beta
        return self.beta_per_nat * (dimensions if self.reduction == "mean" else 1)

    def clamp(self, log_ratio: Tensor) -> Tensor:
        """log ρ, ρ clamped to 1 ± ratio_clip."""
        if self.ratio_clip is None:
            return log_ratio
        return log_ratio.clamp(math.log1p(-self.ratio_clip), math.log1p(self.ratio_clip))

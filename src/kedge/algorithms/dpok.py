"""DPOK: policy gradient with a learned baseline, anchored to the reference by the exact divergence of every step.

Fan et al. 2023 (DPOK), with the constants of the published code. Deviations, numbered: docs/algorithms/dpok.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

from kedge.algorithms.advantages import Advantages, Scope, zero_share
from kedge.algorithms.base import Context, Loss, Needs
from kedge.algorithms.checks import check_fraction, check_positive
from kedge.algorithms.experience import explore
from kedge.algorithms.importance import ImportanceRatios, expected_old_passes
from kedge.algorithms.last_step import PolicyGradient, last_step_losses, score_scale
from kedge.algorithms.schedule import MicroBatch, schedule, visits
from kedge.algorithms.target import check_start
from kedge.algorithms.workload import Passes, Workload
from kedge.divergences import KL
from kedge.gaussian import Reduction
from kedge.policies.base import Backprop

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DPOK(PolicyGradient):
    """Maximise α E[r] − β Σ_k KL(p_θ ‖ p_ref), by policy gradient. Rewards need no gradient.

    Each batch of experience holds batch_size × accumulation samples on each process.

    Attributes:
        reward_weight: α; 10 for a single prompt, 1000 for many, in the published runs.
        kl_weight: β; 0.01 for a single prompt, 0.1 for many, in the published runs.
        ratio_clip: the ratio, per latent dimension with `mean`, is clamped to 1 ± this; a clamped visit has no gradient
            from the reward. It depends on the number D of dimensions: 1e-4 is 1.6 nats at D = 16,384, 0.05 nats at
            D = 512. null takes clip_nats.
        policy_steps: optimizer steps on each batch of experience.
        step_fraction: the share of each sample's sampling steps that one optimizer step visits, drawn at random.
        sample_batch_size: how many trajectories to sample at once; null takes training.batch_size.
        normalise: how rewards are scaled before the baseline is subtracted, since the published weights assume rewards
            near N(0, 1): by the last rewards of the `run`, of the same `prompt`, of the `batch`, or `none`.
        buffer_size: how many rewards the running statistics remember.
        min_count: with fewer rewards than this, the batch's statistics are used instead.
        reward_clip: largest scaled reward in absolute value; null does not clip.
        value_lr: learning rate of the value baseline.
        value_steps: updates of the baseline on each batch of experience.
        value_batch_size: random (sample, step) pairs in one such update.
        reduction: over latent dimensions, of log-probabilities and KL alike: `mean` or `sum`, the true densities.
        clip_nats: the clamp in nats of the whole step's log-ratio, the same in any number of dimensions: 1.64 is the
            published 1e-4 at D = 16,384 (Stable Diffusion at 512 pixels).
    """

    needs: ClassVar[Needs] = Needs(reference=True, noise=True, one_step=True)

    reward_weight: float = 10.0
    kl_weight: float = 0.01
    ratio_clip: float | None = None
    policy_steps: int = 5
    step_fraction: float = 0.2
    sample_batch_size: int | None = None
    normalise: Scope = "run"
    buffer_size: int = 512
    min_count: int = 16
    reward_clip: float | None = 5.0
    value_lr: float = 1e-4
    value_steps: int = 5
    value_batch_size: int = 256
    reduction: Reduction = "mean"
    clip_nats: float = 1.64

    def __post_init__(self) -> None:
        check_positive(self, "clip_nats", "ratio_clip", "policy_steps", "sample_batch_size")
        check_positive(self, "value_lr", "value_steps", "value_batch_size")
        check_fraction(self, "step_fraction")
        if self.reward_weight < 0 or self.kl_weight < 0:
            raise ValueError("reward_weight and kl_weight must not be negative")
        self.check_shared()
        check_start("kl_weight", self.kl_weight, self.goal)

    @property
    def advantages(self) -> Advantages:
        """How rewards are brought to the scale that the weights assume."""
        return Advantages(self.normalise, self.buffer_size, self.min_count, self.reward_clip)

    def workload(self, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
        """``policy_steps`` optimizer steps over one step's samples; the reference is asked at every visit."""
        samples, epochs = batch_size * accumulation, self.policy_steps
        learnt = samples * visits(steps - 1, self.step_fraction) * epochs
        old = expected_old_passes(samples, steps - 1, batch_size, epochs=epochs, step_fraction=self.step_fraction)
        last = samples * epochs if self.last_step else 0
        passes = Passes(
            samples * steps + learnt + old + last,
            backward=learnt + last,
            reference=learnt + self.measured(samples, steps),
        )
        return Workload(samples, queries=samples + last, updates=epochs, passes=passes)

    def updates(self, context: Context) -> Iterator[Iterable[Loss]]:
        """Gather experience, fit the baseline, then ``policy_steps`` optimizer steps."""
        from kedge.algorithms.baseline import Baseline  # a network of torch's

        samples = context.batch_size * context.accumulation
        # x_K, …, x_0 ~ p_θ(·|c) and r(x_0, c)
        experience = explore(context, samples, self.sample_batch_size, self.goal)
        policy, steps = context.policy, experience.stochastic_steps()
        rewards = self.combined(context, experience, self.advantages)
        hold = self.hold(context, self.kl_weight, KL())
        anchored = experience.observe(hold, self.reward_weight * rewards)
        baseline = Baseline(context, experience, self.value_lr)
        # A_k = r(x_0, c) − V(x_k, c, k), [N, k], before the baseline learns these rewards
        advantages = rewards[:, None] - baseline.values()
        value_loss = baseline.fit(rewards, self.value_steps, self.value_batch_size)  # min E (r(x_0, c) − V(x_k, c, k))²
        micro, epochs, fraction = context.batch_size, self.policy_steps, self.step_fraction
        plan = schedule(samples, steps, micro, context.generator, epochs=epochs, step_fraction=fraction)
        ratios = ImportanceRatios(
            plan, samples, policy.steps, lambda visit: experience.log_prob(policy, visit, self.reduction)
        )

        def loss(visit: MicroBatch) -> Loss:
            p, q = experience.transition(policy, visit), experience.reference(policy, visit)
            # ρ = p_θ(x_{k-1} | x_k, c) / p_θold(x_{k-1} | x_k, c)
            ratio = ratios(visit, p.log_prob(experience.x(visit.k - 1)[visit.rows], self.reduction))
            kl = p.squared_distance(q, self.reduction) / 2  # KL(p_θ ‖ p_ref), exactly
            value, metrics = self.objective(
                ratio, advantages[visit.rows, visit.k], kl=kl, dimensions=p.mean[0].numel(), kl_weight=hold.beta
            )
            metrics |= {"reward": experience.rewards[visit.rows], "value_loss": value_loss}
            metrics |= {"advantage_zero_share": zero_share(rewards[visit.rows]), **anchored}
            return Loss(value * visit.share, metrics)

        slopes = self.slopes(context, experience, self.advantages)
        scale = self.reward_weight * score_scale(experience, self.reduction)
        second_term = partial(last_step_losses, context, experience, slopes=slopes, scale=scale)
        for update in plan:
            yield chain(map(loss, update), second_term(update=update))

    def bounds(self, dimensions: int) -> tuple[float, float]:
        """What the ratio is clamped to, for latents of ``dimensions`` numbers."""
        if self.ratio_clip is not None:
            return 1 - self.ratio_clip, 1 + self.ratio_clip
        nats = self.clip_nats / dimensions if self.reduction == "mean" else self.clip_nats
        return math.exp(-nats), math.exp(nats)

    def objective(
        self, ratio: Tensor, advantage: Tensor, kl: Tensor, dimensions: int, kl_weight: float | None = None
    ) -> tuple[Tensor, dict[str, Tensor | float]]:
        """``mean(−α A clamp(ratio) + β KL)`` of one visit, and its metrics; all tensors ``[b]``; β None: as set."""
        beta = self.kl_weight if kl_weight is None else kl_weight
        clamped = ratio.clamp(*self.bounds(dimensions))
        # −α ρ A_k has the gradient −α ∇log p_θ · (r − V); the KL's is exact at the sampled x_k
        loss = (-self.reward_weight * advantage * clamped + beta * kl).mean()
        return loss, {
            "advantage": advantage.abs(),
            "ratio": ratio.detach(),
            "clipped": (ratio != clamped).float(),
            "kl": kl.detach(),
        }

"""Proximal policy optimisation over the sampling steps: RLCM on a consistency policy, DDPO on a diffusion policy.

RLCM, Algorithm 1 (page 6), whose lines are named beside the code; DDPO-IS, Black et al. 2024, is the same loss.
Deviations, numbered: docs/algorithms/ppo.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

import torch

from kedge.algorithms.advantages import Advantages, Scope, zero_share
from kedge.algorithms.base import Context, Loss, Needs
from kedge.algorithms.checks import check_fraction, check_positive
from kedge.algorithms.experience import Experience, explore
from kedge.algorithms.importance import ImportanceRatios, expected_old_passes
from kedge.algorithms.last_step import PolicyGradient, last_step_losses, score_scale
from kedge.algorithms.schedule import MicroBatch, schedule, visits, with_last_step
from kedge.algorithms.workload import Passes, Workload
from kedge.divergences import KL
from kedge.gaussian import Gaussian, Reduction
from kedge.policies.base import Backprop

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PPO(PolicyGradient):
    """Policy gradient with a clipped importance ratio. Rewards need no gradient.

    Each batch of experience holds batch_size × accumulation × minibatches samples on each process.

    Attributes:
        ratio_clip: the ratio earns nothing beyond 1 ± this.
        epochs: how often each sample is visited before new ones are drawn.
        minibatches: optimizer steps in one epoch; 1 is strictly on-policy (the ratio is then always 1).
        step_fraction: the share of sampling steps that each sample trains on, drawn at random for each.
        sample_batch_size: how many trajectories to sample at once; null takes training.batch_size.
        normalise: what a reward is compared with: `prompt` (the last rewards of its own prompt), `run` (the last
            rewards of any prompt), `batch` (this batch), or `none` (the reward itself is the advantage).
        buffer_size: how many rewards the running statistics remember, for each prompt.
        min_count: with fewer rewards than this, the batch's statistics are used instead.
        advantage_clip: largest advantage in absolute value; null does not clip.
        reduction: log-probabilities over latent dimensions: `mean`, which every published constant assumes, or `sum`,
            the true density.
        kl_weight: β, the weight of the exact KL(p_θ ‖ p_ref) of every visited step, in nats beside an advantage of
            standard deviation 1; 0, as in the papers, leaves it to the clip to hold the model (with target or anchor:
            lets the first batch say where the search for β starts).
        score_last_step: also score noise added after the last step, which the image never sees, as the published RLCM
            code does. For consistency models, to measure what it costs.
    """

    needs: ClassVar[Needs] = Needs(noise=True, one_step=True)

    ratio_clip: float = 1e-4
    epochs: int = 1
    minibatches: int = 1
    step_fraction: float = 1.0
    sample_batch_size: int | None = None
    normalise: Scope = "prompt"
    buffer_size: int = 16
    min_count: int = 16
    advantage_clip: float | None = 10.0
    reduction: Reduction = "mean"
    kl_weight: float = 0.0
    score_last_step: bool = False

    def __post_init__(self) -> None:
        check_positive(self, "ratio_clip", "epochs", "minibatches", "sample_batch_size")
        check_fraction(self, "step_fraction")
        if self.kl_weight < 0:
            raise ValueError(f"kl_weight must be 0 or more, not {self.kl_weight}")
        if self.score_last_step and self.last_step:
            raise ValueError(
                "score_last_step scores noise after the last step, last_step=pathwise follows its picture: two ways to "
                "one gradient, of which you can have one"
            )
        self.check_shared()

    @property
    def advantages(self) -> Advantages:
        """How rewards become advantages."""
        return Advantages(self.normalise, self.buffer_size, self.min_count, self.advantage_clip)

    def workload(self, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
        """``epochs × minibatches`` optimizer steps over as many samples as one epoch of them needs."""
        samples = batch_size * accumulation * self.minibatches
        scored = steps if self.score_last_step else steps - 1
        learnt = samples * visits(scored, self.step_fraction) * self.epochs
        old = expected_old_passes(
            samples,
            scored,
            batch_size,
            epochs=self.epochs,
            minibatches=self.minibatches,
            step_fraction=self.step_fraction,
        )
        last = samples * self.epochs if self.last_step else 0
        held = (learnt if self.kl_weight or self.goal else 0) + self.measured(samples, steps)
        passes = Passes(
            samples * steps + learnt + old + last,
            backward=learnt + last,
            reference=held,
        )
        return Workload(samples, queries=samples + last, updates=self.epochs * self.minibatches, passes=passes)

    def explore(self, context: Context, samples: int) -> Experience:
        """Trajectories of fresh prompts with their rewards."""
        return explore(context, samples, self.sample_batch_size, self.goal)

    def updates(self, context: Context) -> Iterator[Iterable[Loss]]:
        """Gather experience, then ``epochs × minibatches`` optimizer steps over it."""
        samples = context.batch_size * context.accumulation * self.minibatches
        # lines 3 and 4: c ~ C, X_0 = P(f_θ, H, c)
        experience = self.explore(context, samples)
        advantages = self.combined(context, experience, self.advantages)  # line 5: r normalised per c
        hold = self.hold(context, self.kl_weight, KL())
        anchored = experience.observe(hold, advantages)
        slopes = self.slopes(context, experience, self.advantages)
        scale = score_scale(experience, self.reduction)
        policy, steps = context.policy, experience.stochastic_steps()
        plan = schedule(  # lines 6 to 8: minibatches, and the steps of each
            samples,
            steps,
            context.batch_size,
            context.generator,
            epochs=self.epochs,
            minibatches=self.minibatches,
            step_fraction=self.step_fraction,
        )
        if self.score_last_step:
            aside = forked(context.generator)  # with the switch and without, a run draws the same pictures
            experience = noise_last_step(experience, aside)
            plan = [with_last_step(update, context.batch_size, self.step_fraction, aside) for update in plan]

        def log_prob(visit: MicroBatch, p: Gaussian | None = None) -> Tensor:
            p = p or experience.transition(policy, visit)  # π_θ(a_t | s_t): s_t = (x_k, c), a_t = x_{k-1}
            if visit.k == 1:
                p = noised(p.mean, experience.stds[-2])
            return p.log_prob(experience.x(visit.k - 1)[visit.rows], self.reduction)

        ratios = ImportanceRatios(plan, samples, policy.steps, log_prob)

        def loss(visit: MicroBatch) -> Loss:
            p = experience.transition(policy, visit)
            value, metrics = self.objective(ratios(visit, log_prob(visit, p)), advantages[visit.rows])
            metrics |= {"reward": experience.rewards[visit.rows], **anchored}
            if hold.beta and visit.k > 1:
                kl = p.squared_distance(experience.reference(policy, visit), self.reduction) / 2  # KL(p_θ ‖ p_ref)
                value, metrics["kl"] = value + hold.beta * kl.mean(), kl.detach()
            return Loss(value * visit.share, metrics)

        second_term = partial(last_step_losses, context, experience, slopes=slopes, scale=scale)
        for update in plan:
            yield chain(map(loss, update), second_term(update=update))

    def objective(self, ratio: Tensor, advantage: Tensor) -> tuple[Tensor, dict[str, Tensor | float]]:
        """``−mean(min{r ρ, r clip(ρ)})`` of one visit, and its metrics; all tensors ``[b]``."""
        clipped = ratio.clamp(1 - self.ratio_clip, 1 + self.ratio_clip)  # clip(ρ, 1 − ε, 1 + ε)
        surrogate = torch.minimum(advantage * ratio, advantage * clipped)  # line 9: min{r ρ, r clip(ρ)}
        return -surrogate.mean(), {
            "advantage": advantage.abs(),
            "advantage_zero_share": zero_share(advantage),
            "ratio": ratio.detach(),
            "clipped": (ratio != clipped).float(),
            "drift": ratio.detach().log() ** 2 / 2,
        }


def noised(x0: Tensor, std: Tensor) -> Gaussian:
    """x_0 noised back to the level ``std`` of the step before: ``N(√(1 − std²) x_0, std²)``."""
    return Gaussian((1 - std**2).sqrt() * x0, std)


def noise_last_step(experience: Experience, generator: torch.Generator) -> Experience:
    """The experience with x_0 replaced by what the published RLCM code scores in its place; the images stay."""
    x0 = experience.x(0)
    z = torch.randn(x0.shape, generator=generator, device=generator.device, dtype=x0.dtype)
    action = noised(x0, experience.stds[-2]).sample(z.to(x0.device))
    return replace(experience, latents=torch.cat([experience.latents[:-1], action[None]]))


def forked(generator: torch.Generator) -> torch.Generator:
    """A stream of its own that follows from where ``generator`` stands, without moving it."""
    copy = torch.Generator(generator.device)
    copy.set_state(generator.get_state())
    seed = int(torch.randint(2**62, (1,), generator=copy, device=copy.device))
    return torch.Generator(generator.device).manual_seed(seed)


@dataclass(frozen=True)
class RLCM(PPO):
    """PPO with the constants of RLCM's Table 1 (compression and incompression): PPO's own defaults."""


@dataclass(frozen=True)
class DDPO(PPO):
    """PPO with the constants of DDPO's published configuration."""

    buffer_size: int = 32
    min_count: int = 16
    advantage_clip: float | None = 5.0

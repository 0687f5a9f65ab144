"""The gradient that policy gradients miss: the reward's own, through the last step.

x_0 = f_θ(x_1) draws no noise, so no log-probability sees it, and ∇E[r] has a second term,

    ∇E[r] = E[ r Σ_{k=K..2} ∇ log p_θ(x_{k-1} | x_k) ] + E[ ∇_θ r(f_θ(x_1)) ],      x_1 held fixed.

How large a part that is: docs/algorithms/ppo.md. It takes one step's graph, the decoder's and the reward's, and one
more reward query for each sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch

from kedge.algorithms.advantages import Advantages
from kedge.algorithms.base import Context, Loss
from kedge.algorithms.combination import combined_advantages
from kedge.algorithms.experience import Experience
from kedge.algorithms.schedule import Update
from kedge.algorithms.target import Anchored
from kedge.gaussian import Reduction

if TYPE_CHECKING:
    from torch import Tensor

LastStep = Literal["pathwise"]
Combine = Literal["sum", "standardised"]


@dataclass(frozen=True, kw_only=True)
class PolicyGradient(Anchored):
    """The settings that all policy gradients share.

    Attributes:
        last_step: pathwise adds the gradient of the reward through the last step, which draws nothing and which
            log-probabilities therefore do not see. The reward must have a gradient. null, as in the papers, does not.
        combine: how a weighted sum of rewards becomes an advantage: sum adds first; standardised brings each to the
            same spread within its prompt before it is weighed, so that none drowns the others (GDPO).
    """

    last_step: LastStep | None = None
    combine: Combine = "sum"

    @property
    def needs_gradient(self) -> bool:
        """Whether the reward must have one."""
        return self.last_step is not None

    @property
    def advantages(self) -> Advantages:
        """How rewards become advantages."""
        raise NotImplementedError

    def check_shared(self) -> None:
        """Raises ValueError for settings of target, anchor, combine, last_step or the advantages that do not fit."""
        self.check_goal()
        _ = self.advantages  # checks its own settings when it is made
        if self.combine not in get_args(Combine):
            raise ValueError(f"combine must be one of {', '.join(get_args(Combine))}, not {self.combine!r}")
        if self.last_step and self.combine != "sum":
            raise ValueError("last_step=pathwise follows the gradient of the sum itself: leave combine at sum")

    def combined(self, context: Context, experience: Experience, advantages: Advantages) -> Tensor:
        """Advantages ``[N]`` float32 of the experience, combined as :attr:`combine` says."""
        if self.combine == "sum":
            return advantages(context, experience.prompts, experience.rewards)
        return combined_advantages(advantages, context, experience)

    def slopes(self, context: Context, experience: Experience, advantages: Advantages) -> Tensor | None:
        """∂A/∂r ``[N]`` of the experience whose advantages were just computed; None without ``last_step``."""
        if self.last_step is None:
            return None
        return advantages.slopes(context, experience.prompts, experience.rewards)


def score_scale(experience: Experience, reduction: Reduction) -> float:
    """The factor on Σ_k ∇ log p in a loss that averages over visited steps (and, with ``mean``, over dimensions)."""
    dimensions = experience.latents[0, 0].numel() if reduction == "mean" else 1
    return 1 / (len(experience.stochastic_steps()) * dimensions)


def last_step_losses(
    context: Context, experience: Experience, update: Update, slopes: Tensor | None, scale: float
) -> Iterator[Loss]:
    """The micro-losses of the second term for one optimizer step, beside those of its visits.

    Args:
        update: its samples take part, each once.
        slopes: ``[N]``, ∂A/∂r; None yields nothing.
        scale: of :func:`score_scale`.
    """
    if slopes is None:
        return
    rows = torch.cat([visit.rows for visit in update]).unique()
    for part in rows.split(context.batch_size):
        x = experience.x(1)[part]
        p = context.backprop.transition(context.policy, x, 1, experience.cond[part])  # x_0 = f_θ(x_1)
        prompts = [experience.prompts[row] for row in part]
        reward = context.reward(context.policy.decode(p.mean), prompts)
        value = (slopes[part].to(reward) * reward).sum() * (scale / len(rows))
        yield Loss(-value, {"last_step_reward": reward.detach()})

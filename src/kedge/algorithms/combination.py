"""Several rewards at once: each is standardised before they are added, so that none drowns the others.

Added first, the reward whose numbers vary most within a prompt decides the advantages alone, whatever its weight was
meant to say. Standardised first (GDPO, "Group reward-Decoupled Normalization Policy Optimization", Liu et al. 2026),

    A = standardise( Σ_i w_i · standardise_prompt(r_i) ),

a weight says how much a reward counts, and neither scale nor centre of a reward changes anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kedge.algorithms.advantages import STATE, Advantages, standardise
from kedge.algorithms.base import Context
from kedge.algorithms.experience import Experience
from kedge.rewards.base import PartedReward

if TYPE_CHECKING:
    from torch import Tensor


def combined_advantages(advantages: Advantages, context: Context, experience: Experience) -> Tensor:
    """Advantages ``[N]`` float32 of this process's samples; of a reward that is no sum, its own."""
    reward = context.reward
    if not isinstance(reward, PartedReward) or not reward.summands:
        return advantages(context, experience.prompts, experience.rewards)
    total = np.zeros(context.processes * len(experience))
    for name, weight in reward.summands.items():
        memory = f"{STATE} of {name}"
        total += weight * advantages.everyone(context, experience.prompts, experience.parts[name], memory)
    return advantages.share(context, standardise(total), experience.rewards)

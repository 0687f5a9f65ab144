"""Pictures from prompts and seeds, one generator each, as diffusers' pipelines draw them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kedge.policies.base import Policy, draw_noise, rollout


@torch.no_grad()
def draw(policy: Policy, prompts: Sequence[str], seeds: Sequence[int], batch_size: int = 8) -> Tensor:
    """One picture for each prompt and seed, ``[N, 3, H, W]`` in [0, 1] on the CPU.

    Raises:
        ValueError: if there are not as many seeds as prompts.
    """
    images = []
    for start in range(0, len(prompts), batch_size):
        part = slice(start, start + batch_size)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[part]]
        cond = policy.encode(prompts[part])
        noise = draw_noise(policy, generators, len(cond))
        images.append(policy.decode(rollout(policy, cond, noise).x0).float().cpu())
    return torch.cat(images)

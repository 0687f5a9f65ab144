"""Shorter backpropagation without bias: the depth is drawn, and what is reached counts more.

Anticipated reweighted truncated backpropagation (Tallec and Ollivier 2017, arXiv 1705.08209), for a rollout whose steps
count down from K to 1. The gradient goes on from a step to the one before it with probability p, so that step k keeps
its graph with probability S_k = p^(k-1). Its share of the gradient, what reaches θ in it, counts 1/S_k as much when it
is there, and is expected to be what it is in full.
"""

from __future__ import annotations

import torch


def depth_probabilities(p: float, deepest: int) -> list[float]:
    """Of the depths 1 to ``deepest``: of n < deepest p^(n-1) (1 − p), of the deepest what is left."""
    ends = [1 - p] * (deepest - 1) + [1.0]
    return [p**n * end for n, end in enumerate(ends)]


def draw_depth(p: float, deepest: int, generator: torch.Generator) -> int:
    """A depth from 1 to ``deepest``."""
    probabilities = torch.tensor(depth_probabilities(p, deepest), dtype=torch.float64)
    return 1 + int(torch.multinomial(probabilities, 1, generator=generator))

"""Truncated backpropagation without bias: the depth is drawn at random, and the gradient is reweighted.

Anticipated reweighted truncated backpropagation (Tallec and Ollivier 2017, arXiv 1705.08209), for a rollout whose steps
count down from K to 1. The gradient goes on from a step to the one before it with probability p, so that step k keeps
its graph with probability S_k = p^(k-1). Whenever it does, its contribution to the gradient of θ is divided by S_k, so
that the expectation is the full gradient.
"""

from __future__ import annotations

import torch


def depth_probabilities(p: float, deepest: int) -> list[float]:
    """Of the depths n = 1 to ``deepest``: p^(n-1) (1 − p) below ``deepest``, and what remains for ``deepest``."""
    ends = [1 - p] * (deepest - 1) + [1.0]
    return [p**n * end for n, end in enumerate(ends)]


def draw_depth(p: float, deepest: int, generator: torch.Generator) -> int:
    """A depth from 1 to ``deepest``."""
    probabilities = torch.tensor(depth_probabilities(p, deepest), dtype=torch.float64)
    return 1 + int(torch.multinomial(probabilities, 1, generator=generator))

"""One gradient of ROCM through a real network, computed in several ways that should give the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from helpers.toys import PROMPTS, Cycle
from kedge.algorithms.base import Context
from kedge.algorithms.rocm import ROCM
from kedge.policies import load_policy
from kedge.policies.base import Backprop, draw_noise
from kedge.policies.latent import LatentPolicy
from kedge.policies.memory import apply_memory_settings
from kedge.policies.settings import LoraConfig, MemorySettings, SpeedSettings


class Contrast:
    """A reward that looks at every pixel, and at each differently."""

    name, differentiable = "contrast", True

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        weight = torch.linspace(-1, 1, images[0].numel(), dtype=images.dtype, device=images.device)
        return torch.tanh(3 * images.flatten(1) - 1) @ weight


@dataclass(frozen=True)
class Way:
    """One way to compute the same gradient."""

    backprop: Backprop = field(default_factory=Backprop)
    memory: MemorySettings = field(default_factory=MemorySettings)
    speed: SpeedSettings = field(default_factory=SpeedSettings)


PLAIN = Way()


def policy_for(folder: Path, way: Way, kind: str = "lcm") -> LatentPolicy:
    torch.manual_seed(0)
    policy = load_policy(kind, folder, steps=3, guidance=7.5, lora=LoraConfig(rank=2), dtype="float64")
    assert isinstance(policy, LatentPolicy)
    for name, weight in policy.adapter.weights.items():
        if "lora_B" in name:
            weight.data.normal_(std=0.1)
    apply_memory_settings(policy, way.memory, way.speed)
    return policy


def lend(policy: LatentPolicy, backprop: Backprop) -> Context:
    return Context(policy, Contrast(), Cycle(PROMPTS), torch.Generator(), backprop, batch_size=2, accumulation=1)


def gradient(policy: LatentPolicy, way: Way, **settings: Any) -> Tensor:
    """Of reward and divergence, from the same noise always."""
    noise = draw_noise(policy, torch.Generator().manual_seed(0), 2)
    algorithm = ROCM(**{"divergence": "kl", "beta": 0.05, **settings})
    reward, divergence = algorithm.evaluate(lend(policy, way.backprop), PROMPTS[:2], noise)
    value = (reward - algorithm.weight * divergence).sum()
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(policy.trainable()))])


def relative(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).norm() / expected.norm()).item()

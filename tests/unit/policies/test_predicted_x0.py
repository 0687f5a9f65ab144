"""The picture that a step predicts is the one that its mean is made of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.toys import toy_context
from kedge.algorithms.soft_q import PicturePredictingPolicy, ReFL, SoftQ
from kedge.policies import load_policy
from kedge.policies.base import draw_noise
from kedge.policies.settings import LoraConfig


@pytest.mark.parametrize("kind", ["lcm", "diffusion"])
def test_the_mean_follows_from_it(micro_lcm: Path, micro_diffusion: Path, kind: str) -> None:
    policy = load_policy(kind, micro_lcm if kind == "lcm" else micro_diffusion, steps=3, guidance=0.0)
    assert isinstance(policy, PicturePredictingPolicy)
    x, cond = draw_noise(policy, torch.Generator().manual_seed(0), 2)[0], policy.encode(["a cat", "a dog"])
    with torch.no_grad():
        x0, mean, step = policy.predicted_x0(x, 3, cond), policy.transition(x, 3, cond).mean, policy.schedule[3]
    expected = step.x0_weight * x0 + step.carried / step.sigma * x
    torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("algorithm", [SoftQ(), ReFL()], ids=["soft_q", "refl"])
def test_real_networks_learn_by_it(micro_lcm: Path, algorithm) -> None:
    policy = load_policy("lcm", micro_lcm, steps=3, guidance=7.5, lora=LoraConfig(rank=2))
    context = toy_context(policy, batch_size=1, accumulation=4)
    context.reward = Brightness()
    for loss in next(iter(algorithm.updates(context))):
        loss.value.backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in policy.trainable())


class Brightness:
    name, differentiable = "brightness", True

    def __call__(self, images, prompts):
        return images.flatten(1).mean(1)

"""Decoding: the picture is the decoder's, clamped; its gradient is that of the picture before the clamp, in full."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from kedge.policies import load_policy
from kedge.policies.base import Policy


@pytest.fixture(scope="module")
def policy(micro_lcm: Path) -> Policy:
    policy = load_policy("lcm", micro_lcm, steps=2, guidance=7.5, dtype="float64")
    policy.vae.decoder.conv_out.weight.mul_(5)  # more contrast: many pixels are saturated
    return policy


def unclamped(policy: Policy, x0: Tensor) -> Tensor:
    """What the VAE draws, in [0, 1] where it is not saturated; by diffusers alone."""
    return policy.vae.decode(x0 / policy.vae.config.scaling_factor).sample / 2 + 0.5


@pytest.fixture
def x0() -> Tensor:
    return 5 * torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("straight_through", [True, False])
def test_the_picture_is_the_decoders_clamped(policy: Policy, x0: Tensor, straight_through: bool) -> None:
    policy.straight_through = straight_through
    images = policy.decode(x0)
    assert torch.equal(images, unclamped(policy, x0).clamp(0, 1))
    saturated = ((images == 0) | (images == 1)).double().mean()
    assert 0.1 < saturated < 0.9  # both kinds of pixel are among what the other laws are about


def test_latents_are_shifted_where_the_vae_was_trained_so(micro_lcm: Path, x0: Tensor) -> None:
    """As the pipelines of flow models decode: x_0 / scale + shift."""
    policy = load_policy("lcm", micro_lcm, steps=2, guidance=7.5, dtype="float64")
    plain = policy.decode(x0)
    policy.vae.register_to_config(shift_factor=0.4)
    expected = policy.vae.decode(x0 / policy.vae.config.scaling_factor + 0.4).sample / 2 + 0.5
    assert torch.equal(policy.decode(x0), expected.clamp(0, 1))
    assert not torch.equal(policy.decode(x0), plain)


@pytest.mark.parametrize("straight_through", [True, False])
def test_the_gradient_against_finite_differences(policy: Policy, x0: Tensor, straight_through: bool) -> None:
    """Straight through: the slope of the unclamped picture, everywhere and in full; otherwise the clamped one's."""
    policy.straight_through = straight_through
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(2, 3, 64, 64, generator=generator, dtype=torch.float64)

    def value(x: Tensor) -> Tensor:
        images = unclamped(policy, x)
        return (weight * (images if straight_through else images.clamp(0, 1))).sum()

    z = x0.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((weight * policy.decode(z)).sum(), z)
    for _ in range(5):
        direction = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            slope = (value(x0 + 1e-6 * direction) - value(x0 - 1e-6 * direction)) / 2e-6
        assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-5)

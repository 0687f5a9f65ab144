"""JS, KL and Hellinger per latent dimension are one regulariser at any drift that occurs; Fisher is another."""

from __future__ import annotations

import pytest
import torch

from kedge.divergences import make_divergence
from kedge.gaussian import Gaussian

STEPS = 7  # stochastic steps of an 8-step model
# β at which the penalties are equal for small drifts: KL δ²/2, JS and Hellinger δ²/8 each.
SCALE = {"kl": 1.0, "js": 4.0, "hellinger": 4.0}


def gradient(name: str, nats: float, dimensions: int) -> torch.Tensor:
    """Of β × divergence by the mean of one step, when a trajectory is ``nats`` from the reference."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(1, dimensions, generator=generator, dtype=torch.float64)
    length = (2 * nats / STEPS) ** 0.5  # δ of one step
    mean = (length * direction / direction.norm()).requires_grad_()
    std = torch.tensor(1.0, dtype=torch.float64)
    divergence = make_divergence(name, "mean")(Gaussian(mean, std), Gaussian(torch.zeros_like(mean), std))
    return torch.autograd.grad(SCALE.get(name, 1.0) * divergence.sum(), mean)[0]


@pytest.mark.parametrize("dimensions", [512, 1024, 16384])
@pytest.mark.parametrize("nats", [0.1, 1.0, 10.0, 30.0])
@pytest.mark.parametrize("name", ["js", "hellinger"])
def test_rows_of_three_divergences_that_agree_in_every_digit_are_one_regulariser(name, nats, dimensions):
    """Gradients of equal strength differ by less than 0.5 % up to 30 nats: no budget can tell their rows apart."""
    ours, kl = gradient(name, nats, dimensions), gradient("kl", nats, dimensions)
    assert float((ours - kl).norm() / kl.norm()) < 5e-3


def test_far_away_they_part():
    """At 1,000 nats in 512 dimensions Hellinger has lost a tenth of its pull: the law is about drifts that occur."""
    for name, at_most in (("js", 0.93), ("hellinger", 0.94)):
        assert float(gradient(name, 1000.0, 512).norm() / gradient("kl", 1000.0, 512).norm()) < at_most


def test_per_trajectory_they_are_not_one():
    """Summed over dimensions Hellinger saturates: at 30 nats it pulls less than half as much as KL."""
    std = torch.tensor(1.0, dtype=torch.float64)
    pulls = {}
    for name in ("kl", "hellinger"):
        mean = torch.full((1, 512), (2 * 30.0 / STEPS / 512) ** 0.5, dtype=torch.float64, requires_grad=True)
        value = make_divergence(name, "sum")(Gaussian(mean, std), Gaussian(torch.zeros_like(mean), std))
        pulls[name] = SCALE[name] * float(torch.autograd.grad(value.sum(), mean)[0].norm())
    assert pulls["hellinger"] < 0.5 * pulls["kl"]


def test_fisher_weighs_the_steps_otherwise():
    """δ²/std²: against KL it pulls with 1/std², so that no β makes the two one over steps with different noise."""
    pulls = []
    for std in (0.1, 0.5):
        noise = torch.tensor(std, dtype=torch.float64)
        mean = torch.full((1, 512), 1e-3, dtype=torch.float64, requires_grad=True)
        values = [
            make_divergence(name, "sum")(Gaussian(mean, noise), Gaussian(torch.zeros_like(mean), noise)).sum()
            for name in ("fisher", "kl")
        ]
        fisher, kl = (float(torch.autograd.grad(value, mean)[0].norm()) for value in values)
        pulls.append(fisher / kl)
    assert pulls[0] == pytest.approx(25 * pulls[1])

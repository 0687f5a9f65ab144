"""One step as a Gaussian: densities and draws are torch's own, and a trajectory is made of such draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from helpers.toys import PROMPTS, ToyPolicy
from kedge.gaussian import Gaussian, Reduction
from kedge.policies.base import draw_noise, rollout

GENERATOR = torch.Generator().manual_seed(0)
SHAPE = (5, 3, 2, 2)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def step(std: float) -> Gaussian:
    return Gaussian(normal(*SHAPE), torch.tensor(std, dtype=torch.float64))


@pytest.mark.parametrize("std", [0.03, 1.0, 7.0])
def test_the_log_density_is_that_of_independent_normals(std: float) -> None:
    p, x = step(std), normal(*SHAPE)
    expected = Independent(Normal(p.mean, p.std), 3).log_prob(x)
    torch.testing.assert_close(p.log_prob(x, "sum"), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(p.log_prob(x, "mean"), expected / math.prod(SHAPE[1:]), rtol=1e-12, atol=0)


def test_a_draw_is_the_mean_and_so_many_standard_deviations() -> None:
    p, noise = step(0.7), normal(*SHAPE)
    torch.testing.assert_close((p.sample(noise) - p.mean) / 0.7, noise, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_squared_distance_counts_standard_deviations(reduction: Reduction) -> None:
    p = step(0.4)
    q = Gaussian(p.mean + 0.4 * 3, p.std)  # three of them, in each of 12 dimensions
    expected = 9.0 * (12 if reduction == "sum" else 1)
    assert p.squared_distance(q, reduction).tolist() == pytest.approx([expected] * SHAPE[0])


def test_where_there_is_no_noise_there_is_no_density_and_no_distance() -> None:
    p, last = step(1.0), step(0.0)
    assert (p.deterministic, last.deterministic) == (False, True)
    with pytest.raises(ValueError, match="no log-probability"):
        last.log_prob(p.mean, "sum")
    for one, other in ((p, last), (last, p), (last, last)):
        with pytest.raises(ValueError, match="no divergence"):
            one.squared_distance(other, "sum")


@pytest.mark.parametrize("kind", ["lcm", "diffusion"])
def test_a_trajectory_is_made_of_its_steps_draws(kind: str) -> None:
    """x_{k-1} is the k-th step's draw from the noise of that step; the last one is its mean."""
    policy = ToyPolicy(kind, steps=4)
    noise = draw_noise(policy, torch.Generator().manual_seed(0), len(PROMPTS))
    trajectory = rollout(policy, policy.encode(PROMPTS), noise)
    assert torch.equal(trajectory.step(4)[0], noise[0])
    for i, k in enumerate((4, 3, 2), start=1):
        _, after, p = trajectory.step(k)
        assert torch.equal(after, p.sample(noise[i]))
        assert torch.equal(after, trajectory.step(k - 1)[0])
    _, x0, p = trajectory.step(1)
    assert torch.equal(x0, p.mean)
    assert torch.equal(x0, trajectory.x0)

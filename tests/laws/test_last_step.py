"""The pathwise gradient of the last step: with it a policy gradient is the whole gradient, without it, it is not."""

from __future__ import annotations

import pytest
import torch

from helpers.linear_world import Linear, Quadratic, Shifted, gradient, world
from helpers.toys import toy_context
from helpers.training_world import recipe
from kedge.algorithms.advantages import Advantages
from kedge.algorithms.dpok import DPOK
from kedge.algorithms.ppo import PPO
from kedge.config import ConfigError, parse_config

BATCH, REPEATS = 500, 40
PLAIN = {"normalise": "none", "reduction": "sum"}


def z_scores(algorithm, reward, expected: float, scale: float) -> torch.Tensor:
    """How many standard errors the mean gradient lies from ``expected``, for each of θ's four numbers."""
    estimates = []
    for seed in range(REPEATS):
        estimates.append(-gradient(algorithm, world(reward, batch_size=BATCH, seed=seed)) / scale)
    estimates = torch.stack(estimates)
    return (estimates.mean(0) - expected) / (estimates.std(0) / REPEATS**0.5)


def slope_of(reward) -> float:
    """∂E[r]/∂θ at θ = 0: x_0 has mean 0, so the quadratic's gradient is 2 + 1 there."""
    return {"linear": 1.0, "quadratic": 3.0}[reward.name]


@pytest.mark.parametrize("reward", [Linear(), Quadratic()], ids=lambda reward: reward.name)
@pytest.mark.parametrize(
    "algorithm",
    [
        PPO(**PLAIN, advantage_clip=None, last_step="pathwise"),
        PPO(normalise="none", reduction="mean", advantage_clip=None, last_step="pathwise"),
    ],
    ids=["sum", "mean"],
)
def test_with_it_the_gradient_is_the_whole_one(algorithm, reward):
    scale = 1 / 3 / (4 if algorithm.reduction == "mean" else 1)
    z = z_scores(algorithm, reward, Shifted.slope * slope_of(reward), scale)
    assert z.abs().max() < 3


def test_without_it_the_last_step_is_missing():
    algorithm = PPO(**PLAIN, advantage_clip=None)
    assert z_scores(algorithm, Linear(), Shifted.slope, 1 / 3).abs().min() > 10
    assert z_scores(algorithm, Linear(), Shifted.slope - 1, 1 / 3).abs().max() < 3


def test_dpok_adds_the_same_term():
    """With and without, on the same draws, the gradients differ by α · slope · ∂x_0/∂θ of the last step."""
    settings = {**PLAIN, "reward_weight": 2.0, "step_fraction": 1.0, "reward_clip": None}
    plain, more = (gradient(DPOK(**settings, last_step=last), world(batch_size=8)) for last in (None, "pathwise"))
    torch.testing.assert_close(more - plain, torch.full((4,), -2.0 / 3, dtype=torch.float64))


def test_slopes_are_what_a_unit_of_reward_is_worth():
    context = toy_context(None)
    advantages = Advantages("prompt", buffer_size=4, min_count=3, clip=None)
    prompts, rewards = ["a", "a", "a", "b"], torch.tensor([0.0, 1.0, 5.0, 2.0])
    values = advantages(context, prompts, rewards)
    slopes = advantages.slopes(context, prompts, rewards)
    torch.testing.assert_close(values[1:3] - values[0], slopes[1:3] * rewards[1:3], rtol=1e-5, atol=1e-6)
    assert slopes[3] == pytest.approx(1 / float(rewards.std(correction=0)), rel=1e-5)  # one reward: the batch's
    assert Advantages("none").slopes(context, prompts, rewards).tolist() == pytest.approx([1.0] * 4)


def test_a_reward_without_a_gradient_is_refused():
    with pytest.raises(ConfigError, match=r"last_step=pathwise.*no gradient"):
        parse_config(recipe(algorithm={"name": "rlcm", "last_step": "pathwise"}, reward="compressibility"))
    with pytest.raises(ConfigError, match="last_step: should be 'pathwise'"):
        parse_config(recipe(algorithm={"name": "rlcm", "last_step": "path"}))

"""Several rewards at once, each standardised before they are added (GDPO), and what each says in the log."""

from __future__ import annotations

import pytest
import torch

from helpers.pretrained_toy import PROMPTS, TinyLCM
from helpers.toys import Cycle
from kedge.algorithms.advantages import Advantages
from kedge.algorithms.base import Context
from kedge.algorithms.combination import combined_advantages
from kedge.algorithms.dpok import DPOK
from kedge.algorithms.experience import explore
from kedge.algorithms.ppo import PPO
from kedge.rewards.composition import Custom, Summand, Weighted
from kedge.rewards.scale import Scale
from kedge.training.meter import CountedReward, Meter
from kedge.training.processes import Processes

ADVANTAGES = Advantages(scope="batch", clip=None)


def context(reward):
    generator = torch.Generator().manual_seed(3)
    return Context(policy=TinyLCM(), reward=reward, prompts=Cycle(PROMPTS), generator=generator, batch_size=4)


def bright(images, prompts):
    return images.flatten(1).mean(1)


def red(images, prompts):
    return (images[:, 0] - images[:, 1]).flatten(1).mean(1)


def summed(weights=(1.0, 1.0), scale=(1.0, 1.0), shift=(0.0, 0.0)):
    """Of two rewards, each as ``scale · r + shift``."""
    parts = []
    for name, function, weight, factor, offset in zip("ab", (bright, red), weights, scale, shift, strict=True):
        reward = Custom(name, lambda x, c, f=function, s=factor, o=offset: s * f(x, c) + o)
        parts.append(Summand(name, weight, reward, Scale()))
    return Weighted("a + b", tuple(parts))


def advantages(reward, scope="batch"):
    ctx = context(reward)
    experience = explore(ctx, 12, 5)
    return combined_advantages(Advantages(scope=scope, buffer_size=8, min_count=2, clip=None), ctx, experience)


@pytest.mark.parametrize("scope", ["batch", "prompt", "run"])
def test_neither_scale_nor_centre_of_a_part_changes_anything(scope):
    plain, other = advantages(summed(), scope), advantages(summed(scale=(1000.0, 30.0), shift=(-7.0, 0.0)), scope)
    torch.testing.assert_close(plain, other, rtol=1e-3, atol=1e-3)


def test_added_first_the_larger_numbers_decide():
    ctx = context(summed(scale=(1000.0, 1.0)))
    experience = explore(ctx, 12, None)
    together = torch.stack([ADVANTAGES(ctx, experience.prompts, experience.rewards), experience.parts["a"]])
    apart = torch.stack([combined_advantages(ADVANTAGES, ctx, experience), experience.parts["a"]])
    assert together.corrcoef()[0, 1] > 0.999
    assert apart.corrcoef()[0, 1] < 0.95


def test_they_are_the_weighted_sum_of_standardised_parts_standardised():
    ctx = context(summed((2.0, -0.5)))
    experience = explore(ctx, 12, None)
    a, b = (experience.parts[name].double() for name in "ab")
    total = 2 * (a - a.mean()) / a.std(correction=0) - 0.5 * (b - b.mean()) / b.std(correction=0)
    expected = (total - total.mean()) / total.std(correction=0)
    combined = combined_advantages(ADVANTAGES, ctx, experience)
    torch.testing.assert_close(combined, expected.float(), rtol=1e-3, atol=1e-3)


def test_each_part_has_a_memory_of_its_own_for_each_prompt():
    ctx = context(summed())
    experience = explore(ctx, 12, None)
    combined_advantages(Advantages(scope="prompt"), ctx, experience)
    assert {"rewards of a", "rewards of b"} <= ctx.state.keys()
    assert ctx.state["rewards of a"].keys() == set(experience.prompts)


def test_a_reward_that_is_no_sum_is_taken_as_it_is():
    ctx = context(Custom("a", bright))
    experience = explore(ctx, 12, None)
    plain = ADVANTAGES(ctx, experience.prompts, experience.rewards)
    assert torch.equal(combined_advantages(ADVANTAGES, ctx, experience), plain)


@pytest.mark.parametrize("algorithm", [PPO, DPOK])
def test_algorithms_take_the_setting(algorithm):
    """Without numbers that differ in size it changes little; with them, what is learned."""
    ctx = context(CountedReward(summed(scale=(1000.0, 1.0))))
    for losses in algorithm(combine="standardised").updates(ctx):
        assert all(loss.value.isfinite() for loss in losses)
    assert "rewards of b" in ctx.state
    with pytest.raises(ValueError, match="combine must be one of sum, standardised"):
        algorithm(combine="product")
    with pytest.raises(ValueError, match="leave combine at sum"):
        algorithm(combine="standardised", last_step="pathwise")


def test_the_last_step_has_one_gradient():
    with pytest.raises(ValueError, match="two ways to one gradient"):
        PPO(score_last_step=True, last_step="pathwise")


def test_the_log_has_the_mean_of_each_part_since_the_last_step():
    counted = CountedReward(summed((0.5, 2.0)))
    meter = Meter(counted, Processes())
    images = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    counted(images[:4], ["x"] * 4)
    counted(images[4:], ["x"] * 2)
    line = meter.read()
    assert line["reward/a"] == pytest.approx(bright(images, []).mean().item(), rel=1e-5)
    assert line["reward/b"] == pytest.approx(red(images, []).mean().item(), rel=1e-5)
    assert not [key for key in meter.read() if key.startswith("reward/")]

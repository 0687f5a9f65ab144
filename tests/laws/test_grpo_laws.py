"""GRPO: a reward is compared with its group and nothing else; the KL is exact; what holds no groups is refused."""

from __future__ import annotations

import pytest
import torch

from helpers.linear_world import gradient, world
from helpers.toys import ToyPolicy, toy_context
from helpers.training_world import recipe
from kedge.algorithms.grpo import GRPO
from kedge.algorithms.ppo import PPO
from kedge.config import ConfigError, parse_config
from kedge.config.compatibility import check_experience


def test_prompts_come_in_groups_with_noise_of_their_own():
    context = toy_context(ToyPolicy(), batch_size=6)
    experience = GRPO(group_size=3).explore(context, 6)
    assert experience.prompts == ["cat"] * 3 + ["two dogs"] * 3
    assert len({tuple(x.flatten().tolist()) for x in experience.x(4)}) == 6


def test_advantages_are_those_of_the_group_alone_also_in_later_batches():
    context, grpo = toy_context(ToyPolicy(), batch_size=6), GRPO(group_size=3)
    for _ in range(3):
        experience = grpo.explore(context, 6)
        advantages = grpo.advantages(context, experience.prompts, experience.rewards).double()
        for rewards, values in zip(experience.rewards.double().split(3), advantages.split(3), strict=True):
            expected = (rewards - rewards.mean()) / (rewards.std(correction=0) + 1e-6)
            torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)


def test_two_groups_of_one_prompt_know_nothing_of_each_other():
    context, grpo = toy_context(ToyPolicy(), batch_size=6), GRPO(group_size=3)
    rewards = torch.tensor([1.0, 2.0, 3.0, 10.0, 10.0, 40.0])
    advantages = grpo.advantages(context, ["cat"] * 6, rewards).double()
    slopes = grpo.advantages.slopes(context, ["cat"] * 6, rewards).double()
    for group, values, slope in zip(rewards.double().split(3), advantages.split(3), slopes.split(3), strict=True):
        spread = group.std(correction=0) + 1e-6
        torch.testing.assert_close(values, (group - group.mean()) / spread, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(slope, (1 / spread).expand(3), rtol=1e-5, atol=1e-6)
    assert grpo.advantages.warning(samples=8, batches=1, prompts=2447) is None  # nothing is compared across prompts


def test_the_kl_is_exact():
    """At θ ≠ 0 of the linear world, the penalty's gradient is β θ: KL_k = |θ|²/2 at each of the steps."""
    settings = {"group_size": 4, "reduction": "sum", "advantage_clip": None}
    gradients = []
    for weight in (0.0, 0.7):
        context = world(batch_size=8)
        with torch.no_grad():
            context.policy.theta.fill_(0.5)
        gradients.append(gradient(GRPO(kl_weight=weight, **settings), context))
    torch.testing.assert_close(gradients[1] - gradients[0], torch.full((4,), 0.7 * 0.5, dtype=torch.float64))


def test_ppo_is_what_it_was():
    assert PPO().kl_weight == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"group_size": 1}, "group_size must be 2 or more"),
        ({"normalise": "run"}, "normalise means nothing to grpo"),
        ({"group_size": 3}, "no whole number of groups of 3"),
    ],
)
def test_what_has_no_groups_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        check_experience(parse_config(recipe(algorithm={"name": "grpo", **settings}, training__batch_size=4)))

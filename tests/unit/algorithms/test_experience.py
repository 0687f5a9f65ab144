"""Gathering: in chunks, and checked."""

from __future__ import annotations

import pytest
import torch

from helpers.pretrained_toy import PROMPTS, TinyLCM, brightness, context, prompt_only
from kedge.algorithms.experience import collect, explore


def test_chunks_do_not_change_what_is_gathered():
    one, many = (explore(context(seed=1), 12, chunk) for chunk in (12, 5))
    torch.testing.assert_close(one.latents, many.latents, rtol=0, atol=1e-12)
    torch.testing.assert_close(one.rewards, many.rewards, rtol=0, atol=1e-6)
    assert one.prompts == many.prompts


def test_every_picture_is_scored_for_its_own_prompt_whatever_the_chunk():
    """Prompts that come twice, and chunks that do not divide them: the reward is the prompt's number."""
    prompts = ["cat", "cat", "dog", "fox", "dog", "cat", "fox"]
    ctx = context(reward=prompt_only)
    rewards = {chunk: collect(ctx, prompts, ctx.noise(7), chunk=chunk).rewards for chunk in (1, 2, 3, 7)}
    for chunk, scores in rewards.items():
        assert scores.tolist() == [PROMPTS.index(prompt) for prompt in prompts], chunk


def test_states_and_rewards_are_those_of_the_trajectories():
    policy = TinyLCM()
    ctx = context(policy, seed=1)
    noise = torch.randn(4, 5, *policy.latent_shape, dtype=policy.dtype)
    prompts = ctx.prompts.take(5)
    experience = collect(ctx, prompts, noise, chunk=2)
    assert torch.equal(experience.x(4), noise[0])
    for i, k in enumerate((4, 3, 2), start=1):
        p = policy.transition(experience.x(k), k, experience.cond)
        torch.testing.assert_close(experience.x(k - 1), p.sample(noise[i]), rtol=0, atol=1e-12)
    assert torch.equal(experience.rewards, brightness(policy.decode(experience.x(0)), prompts).float())
    assert not experience.latents.requires_grad


def test_a_reward_that_fails_in_its_thread_fails_the_run():
    def broken(images, prompts):
        raise ConnectionError("the server is gone")

    with pytest.raises(ConnectionError, match="server is gone"):
        explore(context(reward=broken), 6, 3)


def test_a_score_that_is_not_finite_is_named():
    def sometimes(images, prompts):
        return torch.tensor([0.0 if prompt != "dog" else float("nan") for prompt in prompts])

    with pytest.raises(ValueError, match=r"'function' returned nan for the prompt 'dog'"):
        explore(context(reward=sometimes), 6, 3)


def test_scores_of_the_wrong_shape_are_named():
    with pytest.raises(ValueError, match=r"shape \(3, 1\) for 3 images"):
        explore(context(reward=lambda images, prompts: torch.zeros(len(prompts), 1)), 6, 3)

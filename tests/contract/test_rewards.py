"""What every registered reward promises."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers.reward_sources import WRITERS, StayDouble, in_double, tiny
from helpers.tiny_rewards import pictures
from kedge.rewards import REWARDS, describe

PROMPTS = ["a cat", "two dogs in the snow", "a fox riding a bike"]
SIZES = [(64, 64), (96, 96)]
NAMES = [*REWARDS, *(f"{name}@emoji" for name, spec in REWARDS.items() if spec.in_world)]
DIFFERENTIABLE = [name for name in NAMES if REWARDS[name.removesuffix("@emoji")].differentiable]


@pytest.fixture(scope="module", params=NAMES)
def reward(request, tmp_path_factory):
    with tiny(request.param, tmp_path_factory.mktemp(request.param)) as reward:
        yield reward


def images(size=(64, 64), seed=0) -> Tensor:
    return pictures(len(PROMPTS), *size, seed=seed)


def test_every_loaded_reward_has_a_tiny_source():
    assert {name for name in REWARDS if REWARDS[name].source == "weights"} == set(WRITERS)


def test_says_what_the_catalogue_says(reward):
    spec = REWARDS[reward.name]
    assert reward.differentiable == spec.differentiable == describe(reward.name).differentiable


@pytest.mark.parametrize("size", SIZES)
def test_gives_one_finite_number_each(reward, size):
    scores = reward(images(size), PROMPTS)
    assert scores.shape == (len(PROMPTS),)
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()


def test_tells_pictures_apart(reward):
    if reward.name in ("oracle", "alignment", "judge", "clipscore-hessel", "clipscore-torchmetrics"):
        pytest.skip("flat for noise, for gibberish, or below 0")
    assert not torch.equal(reward(images(), PROMPTS), reward(images(seed=1), PROMPTS))


def test_is_repeatable_and_leaves_nothing_behind(reward):
    x, before = images(), torch.get_rng_state()
    unchanged, grad_mode = x.clone(), torch.is_grad_enabled()
    first, other, again = reward(x, PROMPTS), reward(images(seed=1), PROMPTS[::-1]), reward(x, PROMPTS)
    assert torch.equal(first, again)
    assert not other.isnan().any()
    assert torch.equal(x, unchanged)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled() == grad_mode


def test_scores_each_sample_on_its_own(reward):
    together = reward(images(), PROMPTS)
    alone = torch.cat([reward(images()[i : i + 1], PROMPTS[i : i + 1]) for i in range(len(PROMPTS))])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=2e-5)


def test_follows_a_permutation(reward):
    order = [2, 0, 1]
    straight = reward(images(), PROMPTS)
    permuted = reward(images()[order], [PROMPTS[i] for i in order])
    torch.testing.assert_close(permuted, straight[order], rtol=1e-5, atol=2e-5)


def test_looks_at_the_prompt_only_if_it_says_so(reward):
    if REWARDS[reward.name].needs_prompt:
        pytest.skip("it needs the prompt")
    assert torch.equal(reward(images(), PROMPTS), reward(images(), ["a dog"] * len(PROMPTS)))


def test_flag_of_differentiability_is_true(reward):
    x = images().requires_grad_()
    scores = reward(x, PROMPTS)
    assert scores.requires_grad == reward.differentiable
    if reward.differentiable:
        (gradient,) = torch.autograd.grad(scores.sum(), x)
        assert gradient.isfinite().all()
        assert (gradient.flatten(1).abs().sum(1) > 0)[scores != 0].all()


def test_refuses_another_number_of_prompts(reward):
    with pytest.raises(ValueError, match="3"):
        reward(images(), PROMPTS[:2])


def test_parameters_stay_frozen(reward):
    for holder in (reward, getattr(reward, "clip", None)):
        for value in vars(holder).values() if holder is not None else ():
            if isinstance(value, torch.nn.Module):
                assert not value.training
                assert not any(parameter.requires_grad for parameter in value.parameters())


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient_is_that_of_finite_differences(name, tmp_path):
    with tiny(name, tmp_path) as reward, StayDouble():
        reward = in_double(reward)
        x = pictures(1, 48, 64).double() * 0.5 + 0.25  # so that no overshoot of a resize is cut
        prompts = PROMPTS[:1]
        if reward(x, prompts) == 0:
            reward.clip_negative = False  # cut at 0, where there is nothing to compare
        for seed in range(2):
            direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
            x.requires_grad_()
            (gradient,) = torch.autograd.grad(reward(x, prompts).sum(), x)
            x = x.detach()
            step = 1e-6
            change = (reward(x + step * direction, prompts) - reward(x - step * direction, prompts)) / (2 * step)
            torch.testing.assert_close((gradient * direction).sum(), change.sum(), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient_ascent_raises_it(name, tmp_path):
    with tiny(name, tmp_path) as reward:
        if getattr(reward, "clip_negative", False):
            reward.clip_negative = False  # a random network may start below the cut
        x = pictures(2, 64, 64) * 0.8 + 0.1
        prompts = PROMPTS[:2]
        begin = reward(x, prompts)
        for _ in range(10):
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(reward(x, prompts).sum(), x)
            x = (x + 0.01 * gradient.sign()).clamp(0, 1)
        assert (reward(x.detach(), prompts) > begin).all()

"""PPO: what must hold whatever the hyper-parameters."""

from __future__ import annotations

import pytest
import torch

from helpers.pretrained_toy import PROMPTS, TinyLCM, brightness, context, gradients, prompt_only, train
from helpers.toys import Cycle
from kedge.algorithms.experience import explore
from kedge.algorithms.ppo import DDPO, PPO, RLCM, noised
from kedge.algorithms.schedule import MicroBatch
from kedge.policies.base import Backprop, draw_noise, rollout


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("settings", [{}, {"epochs": 2, "minibatches": 3}, {"epochs": 3, "step_fraction": 0.5}])
def test_the_ratio_is_exactly_one_before_the_first_update(dtype, settings):
    """Sampling runs at another batch size than training; the first step must not notice."""
    policy = TinyLCM(dtype)
    policy.move()
    ppo = PPO(sample_batch_size=5, **settings)
    ctx = context(policy, batch_size=4, accumulation=3)
    for update in ppo.updates(ctx):
        ratios = torch.cat([loss.metrics["ratio"] for loss in update])
        assert (ratios == 1).all()
        break


def test_the_ratio_leaves_one_after_an_update():
    policy = TinyLCM()
    history = train(PPO(minibatches=2, ratio_clip=0.2), context(policy), batches=1, lr=1e-2)
    assert history[0]["drift"] == 0
    assert history[1]["drift"] > 0


def test_old_log_probabilities_belong_to_the_policy_that_sampled():
    """Recorded late (second minibatch, second epoch), they are still those from before the first update."""
    policy, ctx = TinyLCM(), context(TinyLCM(), seed=3)
    ctx.policy = policy
    ppo = PPO(epochs=2, minibatches=2, reduction="sum", normalise="none", advantage_clip=None)
    before = [p.detach().clone() for p in policy.trainable()]
    updates = ppo.updates(ctx)
    first = [loss.metrics["ratio"] for loss in next(updates)]
    assert torch.cat(first).eq(1).all()
    policy.move()
    moved = [torch.cat([loss.metrics["ratio"] for loss in update]) for update in updates]
    assert all((ratios != 1).all() for ratios in moved)
    with torch.no_grad():  # back at the old parameters every ratio would have been 1
        for parameter, old in zip(policy.trainable(), before, strict=True):
            parameter.copy_(old)
    again = ppo.updates(context(policy, seed=3))
    assert all(loss.metrics["ratio"].sub(1).abs().max() < 1e-12 for update in again for loss in update)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_gradient_at_the_old_parameters_is_reinforce(reduction):
    """∇ of the clipped surrogate at θ_old = −E[A ∇ log p] over samples and stochastic steps."""
    policy = TinyLCM()
    policy.move()
    ppo = PPO(normalise="none", advantage_clip=None, reduction=reduction)
    (gradient,) = gradients(ppo, context(policy, seed=5))

    ctx = context(policy, seed=5)
    experience = explore(ctx, 12, None)
    rows = torch.arange(12)
    log_probs = torch.stack([experience.log_prob(policy, MicroBatch(rows, k, 1.0), reduction) for k in (4, 3, 2)])
    reinforce = -(experience.rewards.double() * log_probs).mean()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(reinforce, list(policy.trainable()))])
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


def test_micro_batches_do_not_change_the_gradient():
    """The same 12 samples, as one micro-batch or as six."""
    policy = TinyLCM()
    policy.move()
    (one,) = gradients(PPO(sample_batch_size=12), context(policy, batch_size=12, accumulation=1))
    (six,) = gradients(PPO(sample_batch_size=12), context(policy, batch_size=2, accumulation=6))
    torch.testing.assert_close(one, six, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("advantage", [2.0, -2.0])
@pytest.mark.parametrize("log_ratio", [-0.3, -0.11, -0.09, 0.0, 0.09, 0.11, 0.3])
def test_clipping_acts_exactly_where_it_should(advantage, log_ratio):
    """No gradient where the ratio has already gone beyond the clip in the rewarded direction; else A · ratio."""
    ppo = PPO(ratio_clip=0.1)
    x = torch.tensor([log_ratio], dtype=torch.float64, requires_grad=True)
    loss, metrics = ppo.objective(x.exp(), torch.tensor([advantage]))
    (gradient,) = torch.autograd.grad(loss, x)
    ratio = x.exp().item()
    beyond = ratio > 1.1 if advantage > 0 else ratio < 0.9
    assert gradient.item() == pytest.approx(0.0 if beyond else -advantage * ratio, abs=1e-12)
    assert metrics["clipped"].item() == float(not 0.9 <= ratio <= 1.1)


def test_a_reward_of_the_prompt_alone_has_no_advantage_once_the_buffers_are_full():
    ppo = PPO(buffer_size=8, min_count=8)
    ctx = context(reward=prompt_only, batch_size=24, accumulation=1)
    (gradient,) = gradients(ppo, ctx)
    assert gradient.abs().max() == 0
    (update,) = ppo.updates(context(reward=prompt_only, batch_size=24, accumulation=1))
    assert all(loss.metrics["advantage_zero_share"].eq(1).all() for loss in update)  # and the log says so


def _z2(ppo: PPO, reward, batches: int = 60) -> tuple[float, float]:
    """Mean squared z-score of the mean gradient (1 if it is zero in expectation), and the gradient's variance."""
    policy = TinyLCM()
    policy.move(0.1)
    contexts = [context(policy, reward, seed=100 + i, batch_size=64, accumulation=1) for i in range(batches)]
    rows = torch.stack([gradients(ppo, ctx)[0] for ctx in contexts])
    z = rows.mean(0) / (rows.std(0) / batches**0.5 + 1e-30)
    return z.square().mean().item(), rows.var(0).sum().item()


def test_a_reward_of_the_prompt_alone_has_zero_expected_gradient():
    """Even under batch statistics, where its advantages are not zero; a reward of the picture is far from it."""
    blind, _ = _z2(PPO(normalise="batch"), prompt_only)
    seeing, _ = _z2(PPO(normalise="batch"), brightness)
    assert blind < 2
    assert seeing > 10


def test_scoring_the_last_step_adds_variance_and_nothing_else():
    """The published RLCM code's extra term: its noise never reaches the image."""
    ours, published = PPO(normalise="batch"), PPO(normalise="batch", score_last_step=True)
    _, plain = _z2(ours, brightness)
    _, noisy = _z2(published, brightness)
    assert noisy > 1.1 * plain * (3 / 4) ** 2  # each is a mean over its steps: 3, and 4


@pytest.mark.parametrize("std", [0.1, 0.6, 0.95])
def test_noise_after_the_last_step_keeps_the_variance(std):
    """x_0 of variance 1 is noised as the model was trained to see it: α² + σ² = 1."""
    x0 = torch.linspace(-2, 2, 10, dtype=torch.float64)
    p = noised(x0, torch.tensor(std, dtype=torch.float64))
    alpha = p.mean / x0
    assert p.std == std
    assert (alpha > 0).all()
    assert (alpha**2 + p.std**2).tolist() == pytest.approx([1] * 10)


def test_the_last_steps_term_is_zero_in_expectation():
    policy = TinyLCM()
    policy.move(0.1)
    plain, extra = PPO(normalise="batch"), PPO(normalise="batch", score_last_step=True)
    differences = []
    for seed in range(60):
        (a,) = gradients(plain, context(policy, seed=seed, batch_size=64, accumulation=1))
        (b,) = gradients(extra, context(policy, seed=seed, batch_size=64, accumulation=1))
        differences.append(4 * b - 3 * a)  # the sums over steps: what is left is the last step's
    changes = torch.stack(differences)
    assert changes.abs().max() > 1e-3
    z = changes.mean(0) / (changes.std(0) / len(changes) ** 0.5 + 1e-30)
    assert z.square().mean() < 2


def test_scoring_the_last_step_leaves_the_pictures_alone():
    """A run with the switch and one without draw the same prompts, noise and order: their difference is the term."""
    streams, visits = [], []
    for settings in ({}, {"score_last_step": True}):
        ctx = context(TinyLCM(), seed=11)
        ppo = PPO(normalise="batch", minibatches=2, **settings)
        for _ in range(3):
            visits.append([[(len(loss.metrics["ratio"])) for loss in update] for update in ppo.updates(ctx)])
        streams.append((ctx.generator.get_state(), ctx.noise(2)))
    assert torch.equal(streams[0][0], streams[1][0])
    assert torch.equal(streams[0][1], streams[1][1])
    assert [sum(map(sum, batch)) for batch in visits] == [24 * 3] * 3 + [24 * 4] * 3  # every sample, one step more


def test_the_policy_gradient_is_the_pathwise_one_without_what_runs_through_step_1():
    """x_0 = f_θ(x_1) is deterministic, so log-probabilities do not see it: that part of ∇E[r] is missing, no more.

    Many samples of both estimators at one θ, without a baseline's noise: their difference is within its error, and
    far from the full gradient.
    """
    policy = TinyLCM()
    policy.move(0.1)
    parameters = list(policy.trainable())
    ppo = PPO(normalise="batch", advantage_clip=None, reduction="sum")
    missing, whole = [], []
    for seed in range(120):
        ctx = context(policy, seed=500 + seed, batch_size=96, accumulation=1)
        prompts, noise = Cycle(PROMPTS).take(96), draw_noise(policy, torch.Generator().manual_seed(500 + seed), 96)
        cond = policy.encode(prompts)
        trajectory = rollout(policy, cond, noise, Backprop())
        rewards = brightness(policy.decode(trajectory.x0), prompts)
        full = torch.cat([g.flatten() for g in torch.autograd.grad(rewards.mean(), parameters, retain_graph=True)])
        x1 = trajectory.latents[-2].detach()
        last = brightness(policy.decode(policy.transition(x1, 1, cond).mean), prompts)
        step1 = torch.cat([g.flatten() for g in torch.autograd.grad(last.mean(), parameters)])
        (gradient,) = gradients(ppo, ctx)
        # PPO's loss is −mean over its 3 steps of A log p, with A in units of the batch's standard deviation.
        score = -3 * gradient * rewards.std(correction=0).item()
        missing.append(score - (full - step1))
        whole.append(score - full)
    for differences, unbiased in ((missing, True), (whole, False)):
        stacked = torch.stack(differences)
        z = stacked.mean(0) / (stacked.std(0) / len(stacked) ** 0.5 + 1e-30)
        assert (z.square().mean() < 2) == unbiased


def test_it_learns():
    history = train(PPO(buffer_size=64), context(batch_size=48, accumulation=1), batches=60, lr=5e-3)
    assert history[-1]["reward"] > history[0]["reward"] + 0.05


def test_presets_are_the_published_constants():
    assert (RLCM().buffer_size, RLCM().min_count, RLCM().advantage_clip, RLCM().ratio_clip) == (16, 16, 10.0, 1e-4)
    assert (DDPO().buffer_size, DDPO().min_count, DDPO().advantage_clip, DDPO().ratio_clip) == (32, 16, 5.0, 1e-4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"minibatches": 0}, "minibatches"),
        ({"step_fraction": 0.0}, "step_fraction"),
        ({"min_count": 17}, "buffer_size"),
        ({"normalise": "promt"}, "prompt"),
        ({"advantage_clip": 0.0}, "positive"),
        ({"sample_batch_size": 0}, "sample_batch_size"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        PPO(**settings)


def test_one_step_samplers_are_refused():
    policy = TinyLCM()
    policy.steps = 1
    with pytest.raises(ValueError, match=r"model\.steps"):
        next(iter(PPO().updates(context(policy))))


def test_samplers_without_noise_are_refused():
    policy = TinyLCM()
    policy.sigma = torch.zeros(5, dtype=policy.dtype)
    with pytest.raises(ValueError, match=r"model\.eta"):
        next(iter(PPO().updates(context(policy))))

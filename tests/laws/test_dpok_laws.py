"""DPOK: its divergence, its clamp, its baseline, and what must survive an interruption."""

from __future__ import annotations

import io
import itertools

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from helpers.pretrained_toy import TinyLCM, brightness, context, gradients, prompt_only, train
from helpers.two_processes import in_two_processes
from kedge.algorithms.baseline import Baseline
from kedge.algorithms.dpok import DPOK
from kedge.algorithms.experience import explore
from kedge.algorithms.schedule import MicroBatch
from kedge.config import load_config

ONLY_KL = {"reward_weight": 0.0, "kl_weight": 1.0, "policy_steps": 1, "step_fraction": 1.0, "value_steps": 1}


def first_losses(dpok: DPOK, ctx):
    return list(next(iter(dpok.updates(ctx))))


def steps(policy, k: int, seed: int = 0, n: int = 7):
    """p_θ and p_ref at the same random x_k, with what they were computed from."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *policy.latent_shape, generator=generator, dtype=policy.dtype)
    cond = policy.encode((["cat", "dog", "fox"] * n)[:n])
    p, x0 = policy.transition(x, k, cond), policy.denoised(x, k, cond)
    with policy.reference():
        q, x0_ref = policy.transition(x, k, cond), policy.denoised(x, k, cond)
    return x, p, q, x0, x0_ref


@pytest.mark.parametrize("k", [4, 3, 2])
def test_the_step_kl_is_the_closed_form(k):
    policy = TinyLCM()
    policy.move()
    _, p, q, *_ = steps(policy, k)
    expected = kl_divergence(Independent(Normal(p.mean, p.std), 3), Independent(Normal(q.mean, q.std), 3))
    torch.testing.assert_close(p.squared_distance(q, "sum") / 2, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(p.squared_distance(q, "mean") / 2, expected / 3, rtol=1e-12, atol=0)


@pytest.mark.parametrize("k", [4, 3, 2])
def test_the_step_kl_is_the_published_epsilon_error_up_to_its_coefficient(k):
    """ε̂ = (x − α_k x̃_0) / σ_k, so KL = ½ (α_{k-1} σ_k / (α_k σ_{k-1}))² D · mean (ε̂_θ − ε̂_ref)²."""
    policy = TinyLCM()
    policy.move()
    x, p, q, x0, x0_ref = steps(policy, k)
    alpha, sigma = policy.alpha, policy.sigma
    epsilon, epsilon_ref = ((x - alpha[k] * each) / sigma[k] for each in (x0, x0_ref))
    published = (epsilon - epsilon_ref).square().flatten(1).mean(1)
    coefficient = (alpha[k - 1] * sigma[k] / (alpha[k] * sigma[k - 1])) ** 2 / 2
    torch.testing.assert_close(p.squared_distance(q, "sum") / 2, 3 * coefficient * published, rtol=1e-10, atol=0)


def test_the_loss_without_reward_is_the_mean_kl_of_the_visits():
    policy = TinyLCM()
    policy.move()
    ctx = context(policy, seed=2)
    losses = first_losses(DPOK(**ONLY_KL, reduction="sum"), ctx)
    experience, rows = explore(context(policy, seed=2), 12, None), torch.arange(12)
    expected = []
    for k in (4, 3, 2):
        visit = MicroBatch(rows, k, 1.0)
        p, q = experience.transition(policy, visit), experience.reference(policy, visit)
        expected.append(((p.mean - q.mean).square().flatten(1).sum(1) / (2 * p.std**2)).mean())
    torch.testing.assert_close(sum(loss.value for loss in losses), torch.stack(expected).mean(), rtol=1e-9, atol=0)


def test_at_the_reference_the_kl_and_its_gradient_are_zero():
    (gradient,) = gradients(DPOK(**ONLY_KL), context(TinyLCM()))
    assert gradient.abs().max() == 0


def test_the_kl_alone_pulls_back_to_the_reference():
    policy = TinyLCM()
    policy.move()
    history = train(DPOK(**ONLY_KL), context(policy), batches=60, lr=1e-2)
    assert history[-1]["kl"] < history[0]["kl"] / 5


@pytest.mark.parametrize("advantage", [2.0, -2.0])
@pytest.mark.parametrize("log_ratio", [-0.3, -0.09, 0.0, 0.09, 0.3])
def test_the_plain_clamp_has_no_gradient_outside_whatever_the_sign(advantage, log_ratio):
    x = torch.tensor([log_ratio], dtype=torch.float64, requires_grad=True)
    dpok = DPOK(ratio_clip=0.1, reward_weight=3.0)
    loss, metrics = dpok.objective(x.exp(), torch.tensor([advantage]), torch.zeros(1, dtype=torch.float64), 512)
    (gradient,) = torch.autograd.grad(loss, x)
    outside = abs(log_ratio) > 0.2
    assert gradient.item() == pytest.approx(0.0 if outside else -3.0 * advantage * x.exp().item())
    assert metrics["clipped"].item() == float(outside)


@pytest.mark.parametrize("dimensions", [3, 512, 16_384, 524_288])
def test_the_clamp_in_nats_means_the_same_in_any_number_of_dimensions(dimensions):
    """A step of log-ratio ℓ nats is clamped beyond ±1.64, whatever D; the published 1e-4 only is at D = 16,384."""
    for nats, outside in [(-1.7, 1.0), (-1.6, 0.0), (0.0, 0.0), (1.6, 0.0), (1.7, 1.0)]:
        for dpok, log_ratio in [(DPOK(), nats / dimensions), (DPOK(reduction="sum"), nats)]:
            ratio = torch.tensor([log_ratio], dtype=torch.float64).exp()
            metrics = dpok.objective(ratio, torch.ones(1), torch.zeros(1), dimensions)[1]
            assert metrics["clipped"].item() == outside
    low, high = DPOK().bounds(16_384)
    assert (1 - low, high - 1) == pytest.approx((1e-4, 1e-4), rel=2e-3)
    assert DPOK(ratio_clip=1e-4).bounds(dimensions) == (1 - 1e-4, 1 + 1e-4)


def test_presets_of_small_latents_count_the_clamp_in_nats():
    """The published number per dimension is 0.1 nats at the emoji world's D: it cut most visits off."""
    dpok = load_config("emoji-dpok").algorithm.instance
    assert (dpok.ratio_clip, dpok.clip_nats) == (None, DPOK().clip_nats)


def test_the_ratio_is_exactly_one_before_the_first_update():
    """Later optimizer steps mix visits afresh: there, if nothing moved, it is 1 up to rounding."""
    policy = TinyLCM(torch.float32)
    policy.move()
    updates = DPOK(step_fraction=1 / 3, sample_batch_size=5).updates(context(policy))
    first, *others = [torch.cat([loss.metrics["ratio"] for loss in update]) for update in updates]
    assert first.eq(1).all()
    assert len(others) == 4
    assert torch.cat(others).sub(1).abs().max() < 1e-5


def test_the_advantage_is_what_the_baseline_did_not_expect():
    """An untouched baseline, then one that has learnt a reward of the prompt alone: nothing is left to explain."""
    dpok = DPOK(normalise="none", reward_clip=None, value_lr=3e-3, value_steps=20)
    history = train(dpok, context(reward=prompt_only, batch_size=24), batches=25, lr=0.0)
    assert history[-1]["advantage"] < 0.2 * history[0]["advantage"]
    assert history[-1]["value_loss"] < 0.1 * history[0]["value_loss"]


def test_the_baselines_table_holds_its_value_at_every_step():
    """Column k of values() is V(x_k, c, k); the last step, and 0, have no value to subtract."""
    ctx = context(seed=2)
    experience = explore(ctx, 5, None)
    baseline = Baseline(ctx, experience, 1e-3)
    table, rows = baseline.values(), torch.arange(5)
    assert table.shape == (5, 5)
    assert (table[:, :2] == 0).all()
    for k in (2, 3, 4):
        x = experience.x(k)
        expected = baseline.network(baseline._features(x, experience.cond), torch.full((5,), k))
        assert torch.equal(table[:, k], expected.detach())
        assert torch.equal(baseline.value(rows, torch.full((5,), k)), expected)


def test_the_baseline_is_fitted_at_every_step_with_noise_and_at_no_other():
    ctx = context(seed=2)
    experience = explore(ctx, 4, None)
    baseline, visits = Baseline(ctx, experience, 1e-3), set()
    value = baseline.value

    def watched(rows, k):
        visits.update(zip(rows.tolist(), k.tolist(), strict=True))
        return value(rows, k)

    baseline.value = watched
    baseline.fit(experience.rewards, updates=20, batch_size=16)
    assert visits == set(itertools.product(range(4), (2, 3, 4)))


def test_the_baseline_does_not_see_the_rewards_it_is_subtracted_from():
    dpok = DPOK(normalise="none", reward_clip=None, policy_steps=1, step_fraction=1.0)
    ctx = context(seed=4)
    losses = first_losses(dpok, ctx)
    fresh = context(seed=4)
    experience = explore(fresh, 12, None)
    untouched = Baseline(fresh, experience, 1e-4).values()[:, 2:]
    actual = torch.cat([loss.metrics["advantage"] for loss in losses]).mean()
    expected = (experience.rewards[:, None] - untouched).abs().mean()
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-7)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit():
    def run(batches, policy, state=None, rng=None):
        ctx = context(policy, seed=7)
        if state is not None:
            ctx.state = torch.load(io.BytesIO(state), weights_only=True)
            ctx.generator.set_state(rng)
        history = []
        for _ in range(batches):
            for update in DPOK(policy_steps=2).updates(ctx):
                total = sum(loss.value for loss in update)
                history.append(total.item())
                grads = torch.autograd.grad(total, list(policy.trainable()))
                with torch.no_grad():
                    for parameter, gradient in zip(policy.trainable(), grads, strict=True):
                        parameter.sub_(1e-3 * gradient)
        buffer = io.BytesIO()
        torch.save(ctx.state, buffer)
        return history, buffer.getvalue(), ctx.generator.get_state()

    straight, *_ = run(6, TinyLCM())
    policy = TinyLCM()
    first, state, rng = run(3, policy)
    second, *_ = run(3, policy, state, rng)
    assert straight == first + second


def test_it_learns():
    dpok = DPOK(kl_weight=0.001, policy_steps=3, step_fraction=2 / 3, value_lr=3e-3, ratio_clip=0.05)
    history = train(dpok, context(batch_size=48, accumulation=1), batches=25, lr=3e-3)
    assert history[-1]["reward"] > history[0]["reward"] + 0.05


def _learn(rank: int, gather):
    ctx = context(seed=rank, processes=2, process=rank, gather=gather)
    for update in DPOK(policy_steps=1).updates(ctx):
        list(update)
    return {name: tensor.tolist() for name, tensor in ctx.state["value"]["network"].items()}


def test_two_processes_keep_one_baseline(tmp_path):
    one, other = in_two_processes(_learn, tmp_path)
    assert one == other


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kl_weight": -1.0}, "negative"),
        ({"policy_steps": 0}, "policy_steps"),
        ({"step_fraction": 2.0}, "fraction"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        DPOK(**settings)


def test_it_needs_no_gradient_from_the_reward_but_a_reference():
    assert not DPOK.needs.differentiable_reward
    assert DPOK.needs.reference
    assert context(reward=brightness).reward.differentiable is False

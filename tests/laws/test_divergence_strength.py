"""Which divergences are one regulariser, and β at which two are equally strong."""

from __future__ import annotations

import pytest
import torch

from helpers.toys import FULL, ToyPolicy, toy_context
from kedge.divergence_strength import equal_strength, expected, relative_slope
from kedge.divergences import SampledJensenShannon, make_divergence
from kedge.gaussian import Gaussian

STEPS, DIMENSIONS = 7, 512  # K − 1 of eight steps, and the latents of the first emoji world: x is as large as anywhere


def per_step(nats: float) -> float:
    """x = δ²/D of each step, when a path KL is spread evenly."""
    return 2 * nats / STEPS / DIMENSIONS


@pytest.mark.parametrize(("name", "weakest"), [("kl", 1.0), ("hellinger", 0.9975), ("js", 0.9955)])
def test_kl_hellinger_and_js_are_one_regulariser_at_any_drift_that_is_used(name, weakest):
    """Up to 30 nats of path KL their gradients are KL's within half a per cent, after β in the ratio 1 : 4 : 4."""
    for nats in (0.01, 1.0, 10.0, 30.0):
        assert weakest <= relative_slope(name, per_step(nats)) <= 1 + 1e-9
    slopes = {key: expected(key, 1e-3, DIMENSIONS, "mean") for key in ("kl", "hellinger", "js")}
    assert slopes["kl"] / slopes["hellinger"] == pytest.approx(4, rel=1e-3)
    assert slopes["kl"] / slopes["js"] == pytest.approx(4, rel=1e-3)


def test_where_it_ends():
    """At 100 nats, or with all 30 nats in a single step, they differ by a few per cent; in 16,384 dimensions never."""
    assert 0.98 < relative_slope("js", per_step(100)) < 0.99
    assert 0.96 < relative_slope("js", 2 * 30 / DIMENSIONS) < 0.98
    assert relative_slope("js", 2 * 300 / 16_384) > 0.99
    assert relative_slope("hellinger", per_step(30)) == pytest.approx(0.9979, abs=2e-4)
    assert relative_slope("js", per_step(30)) == pytest.approx(0.9958, abs=3e-4)


def test_their_gradients_through_a_whole_rollout_are_one_vector():
    """On a toy generator that has drifted as far per dimension as 30 nats in 512: the cosine, and the length."""
    from kedge.algorithms.rocm import ROCM

    gradients = {}
    for name, ratio in (("kl", 1.0), ("hellinger", 4.0), ("js", 4.0), ("fisher", 1.0)):
        policy = ToyPolicy("lcm", 8, drift=0.2)
        context = toy_context(policy, batch_size=3, backprop=FULL, seed=2)
        prompts, noise = context.prompts.take(3), context.noise(3)
        divergence = ROCM(divergence=name, beta=1.0, reduction="mean").evaluate(context, prompts, noise)[1]
        parts = torch.autograd.grad(ratio * divergence.mean(), list(policy.trainable()))
        gradients[name] = torch.cat([g.flatten() for g in parts])
        if name == "kl":
            drift = 2 * divergence.mean().item() / 7
            assert 0.002 < drift < 0.02  # x per step: that of 4 to 36 nats at D = 512
    kl = gradients["kl"]
    for name in ("hellinger", "js"):
        assert torch.cosine_similarity(kl, gradients[name], dim=0) > 0.99999
        assert gradients[name].norm() / kl.norm() == pytest.approx(1, abs=0.01)
    assert torch.cosine_similarity(kl, gradients["fisher"], dim=0) < 0.999  # another regulariser


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("squared", [0.3, 2.4])
def test_the_expectation_of_the_sampled_estimate_equals_monte_carlo(reduction, squared):
    generator = torch.Generator().manual_seed(0)
    draws, dimensions = 60_000, 16
    offset = torch.full((draws, dimensions), (squared / dimensions) ** 0.5, dtype=torch.float64)
    one = torch.ones([], dtype=torch.float64)
    estimate = SampledJensenShannon(reduction, generator)
    values = estimate(Gaussian(offset, one), Gaussian(torch.zeros_like(offset), one))
    error = float(values.std() / draws**0.5)
    assert expected("js_sampled", squared, dimensions, reduction) == pytest.approx(float(values.mean()), abs=4 * error)


def test_the_estimate_is_unbiased_with_sum_and_far_weaker_with_mean():
    for squared in (0.6, 2.4):
        assert expected("js_sampled", squared, 512, "sum") == pytest.approx(
            expected("js", squared, 512, "sum"), rel=1e-6
        )
    ratios = [expected("js", 2 * nats, 512) / expected("js_sampled", 2 * nats, 512) for nats in (0.3, 1.2, 3.0, 10.0)]
    assert ratios == pytest.approx([440, 318, 205, 86], rel=0.03)


def test_equal_strength_makes_the_expected_penalties_equal():
    beta = equal_strength(20.48, of="js", to="js_sampled", nats=1.2, dimensions=512)
    assert beta == pytest.approx(20.48 * 318, rel=0.03)
    penalties = 20.48 * expected("js", 2.4, 512), beta * expected("js_sampled", 2.4, 512)
    assert penalties[0] == pytest.approx(penalties[1])
    same = equal_strength(0.1, of="kl", to="hellinger", nats=1e-3, dimensions=512, of_reduction="mean")
    assert same == pytest.approx(0.4, rel=1e-3)
    with pytest.raises(ValueError, match="above 0"):
        equal_strength(1.0, of="kl", to="js", nats=0.0, dimensions=4)
    with pytest.raises(ValueError, match="negative"):
        expected("kl", -1.0, 4)
    assert make_divergence("js").reduction == "mean"

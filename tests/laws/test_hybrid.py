"""Hybrid: no bias whatever the surrogate, less variance with a good one, PPO's gradient where it is useless."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.linear_world import Quadratic, Shifted, world
from helpers.training_world import recipe
from kedge.algorithms import control_variate, hybrid, surrogate
from kedge.algorithms.control_variate import explain, remember
from kedge.algorithms.hybrid import STATE, Hybrid
from kedge.algorithms.surrogate import RidgeSurrogate
from kedge.config import ConfigError, parse_config

BATCH, REPEATS = 400, 40


class BlackBox:
    """The quadratic, whose gradient the algorithm is not told."""

    name, differentiable = "black box", False

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return Quadratic()(images, prompts)


def similar(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """Explains most of the reward."""
    return 0.3 * Quadratic()(images, prompts) + 0.2 * torch.sin(images.flatten(1)).sum(1)


def unrelated(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """Explains nothing."""
    return torch.cos(7 * images.flatten(1)).sum(1)


similar.differentiable = unrelated.differentiable = True  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def four_channels(monkeypatch):
    """Rewards refuse pictures that are not RGB; those of this world have four numbers."""
    monkeypatch.setattr(hybrid, "frozen_reward", lambda name, device: named(globals()[name.split(":")[1]]))


def named(function):
    function.name = function.__name__
    return function


def gradients(name: str, *, earlier: bool) -> tuple[Tensor, list[float]]:
    """The first step's gradient over many seeds, ``[REPEATS, 4]``, with pairs of earlier pictures; and the slopes."""
    algorithm = Hybrid(divergence="none", beta=0, surrogate=f"{__name__}:{name}", min_count=4)
    estimates, slopes = [], []
    for seed in range(REPEATS):
        context = world(BlackBox(), batch_size=BATCH, seed=seed)
        if earlier:  # η and b are random, but independent of this batch
            x = torch.randn(64, 4, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1000 + seed))
            rewards, values = BlackBox()(x, []), globals()[name](x, [])
            news = [("a", float(r), float(s)) for r, s in zip(rewards, values, strict=True)]
            context.state[STATE] = remember({}, news, 256)
        (theta,) = context.policy.trainable()
        theta.grad = None
        for loss in next(iter(algorithm.updates(context))):
            loss.value.backward()
            if "slope" in loss.metrics:
                slopes.append(float(loss.metrics["slope"][0]))
        estimates.append(-theta.grad.flatten())
    return torch.stack(estimates), slopes


def expected(name: str, slope: float) -> float:
    """∇E[R] − E[∇_{x_0}(R − η S)] of the last step, by a large sample of x_0 ~ N(0, 1 + 1/4 + 1/16 + 1/64)."""
    x = torch.randn(400_000, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * VARIANCE**0.5
    x.requires_grad_()
    residual = BlackBox()(x, []) - slope * globals()[name](x, [])
    last = torch.autograd.grad(residual.sum(), x)[0].mean()
    return Shifted.slope * 3.0 - float(last)


VARIANCE = 1 / 4 + 1 / 16 + 1 / 64 + 1 / 64  # of x_0: ε_3/8… summed, and x_K/16


@pytest.mark.parametrize("name", ["similar", "unrelated"])
def test_it_is_unbiased_whatever_the_surrogate(name):
    estimates, slopes = gradients(name, earlier=True)
    target = expected(name, float(np.mean(slopes)))
    z = (estimates.mean(0) - target) / (estimates.std(0) / REPEATS**0.5)
    assert z.abs().max() < 3


def test_a_good_surrogate_takes_most_of_the_variance():
    with_it, slopes = gradients("similar", earlier=True)
    without, _ = gradients("similar", earlier=False)
    assert min(slopes) > 1
    assert float(with_it.var(0).mean()) < 0.5 * float(without.var(0).mean())


def test_a_useless_one_is_left_out():
    _, slopes = gradients("unrelated", earlier=True)
    assert slopes == [0.0] * REPEATS


def test_the_first_batch_is_a_policy_gradient():
    _, slopes = gradients("similar", earlier=False)
    assert slopes == [0.0] * REPEATS


def test_the_first_baseline_leaves_a_sample_out_of_its_own():
    rewards = torch.tensor([1.0, 2.0, 6.0])
    assert hybrid.without_own(rewards).tolist() == [4.0, 3.5, 1.5]
    assert hybrid.without_own(rewards[:1]).tolist() == [0.0]


def test_eta_is_that_of_least_squares_within_the_prompt():
    rng = np.random.default_rng(0)
    s = rng.normal(size=(2, 50))
    pairs = remember({}, [("a", 2 * x + 5 + 0.1 * rng.normal(), x) for x in s[0]], 256)
    pairs = remember(pairs, [("b", 4 * x - 5 + 0.1 * rng.normal(), x + 30) for x in s[1]], 256)
    for prompt, slope in (("a", 2.0), ("b", 4.0)):
        rows = np.array(pairs[prompt])
        fit = explain(pairs, prompt, min_count=16, least=0.3)
        assert fit.slope == pytest.approx(np.polyfit(rows[:, 1], rows[:, 0], 1)[0])
        assert fit.baseline == pytest.approx(np.polyfit(rows[:, 1], rows[:, 0], 1)[1])
        assert fit.slope == pytest.approx(slope, abs=0.1)
    both = explain(pairs, "a", min_count=1000, least=0.3)
    assert 2 < both.slope < 4
    assert explain(pairs, "never seen", min_count=2, least=0.3).slope == both.slope
    assert 0.9 < both.correlation < 1
    assert explain({}, "a", min_count=2, least=0.3) == control_variate.Explained(0.0, 0.0, 0.0)


def test_a_prompt_has_a_slope_of_its_own_from_min_count_pictures_on():
    pairs = remember({}, [("a", 2.0 * x, float(x)) for x in range(4)], 256)
    pairs = remember(pairs, [("b", 4.0 * x, float(x)) for x in range(8)], 256)
    pooled = explain(pairs, "a", min_count=5, least=0.0)
    assert explain(pairs, "a", min_count=4, least=0.0).slope == pytest.approx(2.0)
    assert 2 < pooled.slope < 4


def test_memory_is_bounded_and_its_past_is_not_changed():
    before = remember({}, [("a", 1.0, 1.0)], 2)
    after = remember(before, [("a", 2.0, 2.0), ("a", 3.0, 3.0)], 2)
    assert before == {"a": [[1.0, 1.0]]}
    assert after == {"a": [[2.0, 2.0], [3.0, 3.0]]}


class Features:
    """Four features of the picture, with the door that CLIP rewards have."""

    name, differentiable = "features", True

    def image_features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return images.flatten(1).sum(1)


def test_ridge_learns_the_reward_from_earlier_pictures_only(monkeypatch):
    monkeypatch.setattr(surrogate, "frozen_reward", lambda name, device: Features())
    context, weights = world(batch_size=4), torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for batch in range(3):
        ridge = RidgeSurrogate("ridge(features)", context)
        images = torch.randn(200, 4, 1, 1, dtype=torch.float64, generator=generator)
        predicted = ridge(images, [])
        truth = images.flatten(1) @ weights + 7
        if batch == 0:
            assert not predicted.any()
        else:
            assert np.corrcoef(predicted.detach(), truth)[0, 1] > 0.999
        ridge.observe(truth)
        ridge.close(context)


def test_ridge_forgets_earlier_batches_by_degrees(monkeypatch):
    monkeypatch.setattr(surrogate, "frozen_reward", lambda name, device: Features())
    context = world(batch_size=4)
    for _ in range(3):
        ridge = RidgeSurrogate("ridge(features)", context)
        ridge(torch.ones(10, 4, 1, 1, dtype=torch.float64), [])
        ridge.observe(torch.ones(10))
        ridge.close(context)
    counted = context.state[surrogate.STATE]["moments"][0, 0]
    assert counted.item() == pytest.approx(10 * (1 + surrogate.FORGET + surrogate.FORGET**2))
    assert 0 < surrogate.FORGET < 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"surrogate": "compressibility"}, "has no gradient"),
        ({"surrogate": "ridge(compressibility)"}, "has no gradient"),
        ({"surrogate": "nobody"}, "nobody"),
        ({"buffer_size": 0}, "buffer_size must be positive"),
        ({"buffer_size": 8}, "min_count=16 of a buffer_size of 8 is never reached"),
        ({"least_correlation": 1.5}, "least_correlation is a ρ², from 0 to 1"),
    ],
)
def test_what_cannot_explain_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        parse_config(recipe(algorithm={"name": "hybrid", **settings}, reward="compressibility"))

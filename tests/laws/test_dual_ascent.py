"""Dual ascent: its fixed point is the constraint, wherever it starts; one step is small; bad numbers do nothing."""

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch

from kedge.algorithms.dual_ascent import DualAscent, Multiplier, above, scale_of


def held(
    start: float, ceiling: float, *, gradient: float, ascent: DualAscent, steps: int = 3000
) -> tuple[float, float]:
    """KL and λ at the end, for a Gaussian of unit variance whose mean θ climbs E r = gradient · θ, KL = θ²/2."""
    multiplier, theta = ascent.start(start), 0.0
    for _ in range(steps):
        theta += 0.05 * (gradient - multiplier.value * theta)
        multiplier = ascent.step(multiplier, above(theta**2 / 2, ceiling))
    return theta**2 / 2, multiplier.value


@pytest.mark.parametrize("start", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("ceiling", [0.5, 8.0])
@pytest.mark.parametrize("damping", [0.0, 3.0])
def test_the_fixed_point_is_the_constraint(start, ceiling, damping):
    """At the optimum of g θ − λ θ²/2 under θ²/2 = κ, λ = g / √(2κ)."""
    kl, weight = held(start, ceiling, gradient=3.0, ascent=DualAscent(damping=damping))
    assert kl == pytest.approx(ceiling, rel=1e-3)
    assert weight == pytest.approx(3.0 / math.sqrt(2 * ceiling), rel=1e-3)


def test_a_floor_is_held_by_the_same_rule():
    """A reward r = 1 − (θ − 2)² pulled down by another that wants θ = 0: it is held at 0.75."""
    ascent, theta = DualAscent(), 0.0
    multiplier = ascent.start(0.1)
    for _ in range(3000):
        theta += 0.02 * (-2 * theta + multiplier.value * -2 * (theta - 2))
        multiplier = ascent.step(multiplier, 0.75 - (1 - (theta - 2) ** 2))
    assert 1 - (theta - 2) ** 2 == pytest.approx(0.75, abs=1e-3)


@pytest.mark.parametrize("violation", [-math.inf, -50.0, 0.3, 50.0, math.inf])
def test_one_step_moves_at_most_a_tenth(violation):
    multiplier = Multiplier(2.0, 2.0, violation=0.9)
    after = DualAscent().step(multiplier, violation)
    assert 1 / 1.1 - 1e-12 <= after.value / multiplier.value <= 1.1 + 1e-12


def test_one_step_is_the_rule_as_it_is_written():
    """v ← μ v' + (1 − μ) g and ln λ ← ln λ + η v + ζ (v − v'), with numbers that tell all terms apart."""
    ascent = DualAscent(rate=0.03, damping=0.2, memory=0.8)
    after = ascent.step(Multiplier(2.0, 2.0, violation=0.1), 0.4)
    v = 0.8 * 0.1 + 0.2 * 0.4
    assert after.violation == pytest.approx(v)
    assert after.value == pytest.approx(2.0 * math.exp(0.03 * v + 0.2 * (v - 0.1)))


@pytest.mark.parametrize(("violation", "counted"), [(math.inf, 1.0), (50.0, 1.0), (-50.0, -1.0), (-math.inf, -1.0)])
def test_a_violation_counts_as_one_at_most(violation, counted):
    """A measurement of 0 is a violation of −∞, and must not stay in the average for ever."""
    before = Multiplier(2.0, 2.0, violation=0.1)
    assert DualAscent().step(before, violation) == DualAscent().step(before, counted)


@pytest.mark.parametrize(("violation", "bound"), [(1.0, 10.0), (-1.0, 2.5)])
def test_bounds_are_relative_to_the_start(violation, bound):
    multiplier = DualAscent(span=2.0).start(5.0)
    for _ in range(200):
        multiplier = DualAscent(span=2.0).step(multiplier, violation)
    assert multiplier.value == pytest.approx(bound)


def test_what_is_not_a_number_changes_nothing():
    multiplier = DualAscent().start(1.0)
    assert DualAscent().step(multiplier, math.nan) == multiplier
    assert math.isnan(above(math.nan, 1.0))


def test_a_start_at_zero_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        DualAscent().start(0.0)


def test_it_goes_on_from_plain_numbers():
    ascent = DualAscent()
    violations = np.random.default_rng(0).normal(size=20)
    straight = ascent.start(1.0)
    for violation in violations:
        straight = ascent.step(straight, float(violation))
    halves = ascent.start(1.0)
    for violation in violations[:10]:
        halves = ascent.step(halves, float(violation))
    halves = Multiplier(**asdict(halves))
    for violation in violations[10:]:
        halves = ascent.step(halves, float(violation))
    assert halves == straight


def test_damping_swings_less_beyond_the_constraint():
    """With weights that move at a constant rate, as Adam's do, a weight that only integrates overshoots more."""

    def farthest(ascent: DualAscent) -> float:
        multiplier, theta, largest = ascent.start(0.3), 0.0, 0.0
        for _ in range(400):
            theta += 0.02 * float(np.sign(1.0 - multiplier.value * theta))
            largest = max(largest, theta**2 / 2)
            multiplier = ascent.step(multiplier, above(theta**2 / 2, 4.0))
        return largest / 4.0

    assert farthest(DualAscent()) < 0.8 * farthest(DualAscent(damping=0.0))


@pytest.mark.parametrize(
    ("rewards", "scale"),
    [([1.0, 3.0], 2**0.5), ([0.1] * 24, 0.1), ([1.0, 1.0 - 6e-8], 1.0), ([-0.7], 0.7), ([0.0, 0.0], 1.0)],
)
def test_rewards_that_differ_by_rounding_have_their_size_for_a_scale(rewards, scale):
    """Else the first weight would be a hundred-millionth of what was meant, and its whole span beside it."""
    for dtype in (torch.float64, torch.float32):
        assert scale_of(torch.tensor(rewards, dtype=dtype).double()) == pytest.approx(scale, rel=1e-5)

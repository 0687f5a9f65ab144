"""Laws of levels: isotonic curves, crossings, censored ratios."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from kedge.evaluation.statistics import Reached, first_reaching, isotonic, speedup


@given(y=st.lists(st.floats(-5, 5), min_size=1, max_size=12), seed=st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_isotonic_equals_scipy(y: list[float], seed: int) -> None:
    weights = np.random.default_rng(seed).uniform(0.1, 3, len(y))
    expected = optimize.isotonic_regression(y, weights=weights).x
    assert isotonic(y, weights) == pytest.approx(expected, abs=1e-9)
    assert (np.diff(isotonic(y)) >= 0).all()


def test_crossings_lie_between_points_and_are_censored_at_the_budget() -> None:
    x = [0.0, 100.0, 200.0, 300.0]
    assert first_reaching(x, [0.0, 1.0, 2.0, 3.0], 1.5) == Reached(150.0)
    assert first_reaching(x, [0.0, 1.0, 2.0, 3.0], 3.5) == Reached(300.0, censored=True)
    assert first_reaching(x, [0.0, 1.0, 2.0, 3.0], 2.5, budget=220.0) == Reached(220.0, censored=True)
    with pytest.raises(ValueError, match="rise"):
        first_reaching([0.0, 0.0], [0.0, 1.0], 0.5)


def test_one_lucky_evaluation_reaches_nothing() -> None:
    lucky = [0.0, 1.2, 0.0, 0.1, 0.1]
    assert first_reaching([0.0, 1.0, 2.0, 3.0, 4.0], lucky, 1.0).censored
    steady = [0.0, 1.2, 1.0, 1.1, 1.3]
    assert not first_reaching([0.0, 1.0, 2.0, 3.0, 4.0], steady, 1.0).censored


def test_speedup_is_a_geometric_mean_over_seeds() -> None:
    ours = [Reached(100.0), Reached(200.0), Reached(150.0)]
    theirs = [Reached(400.0), Reached(800.0), Reached(768.0, censored=True)]
    speed = speedup(ours, theirs)
    assert speed.ratio.value == pytest.approx((4 * 4 * 768 / 150) ** (1 / 3))
    assert (speed.ours_censored, speed.theirs_censored) == (0, 1)
    assert speed.ratio.low < speed.ratio.value < speed.ratio.high
    assert speed.log_ratio.units == 3
    assert math.isinf(speedup(ours[:1], theirs[:1]).ratio.high)
    with pytest.raises(ValueError, match="seed by seed"):
        speedup(ours, theirs[:2])
    with pytest.raises(ValueError, match="higher"):
        speedup([Reached(0.0)], [Reached(10.0)])


def test_coverage_of_the_log_ratio() -> None:
    """Noisy curves that saturate; ours rises four times as fast."""
    rng, x, truth, held = np.random.default_rng(0), np.arange(0, 769, 32.0), math.log(4), 0

    def curve(scale: float) -> np.ndarray:
        rate = scale * np.exp(rng.normal(0, 0.25))
        return 1 - np.exp(-x / rate) + np.concatenate([[0.0], rng.normal(0, 0.02, len(x) - 1)])

    for _ in range(1000):
        ours = [first_reaching(x, curve(100.0), 0.5) for _ in range(6)]
        theirs = [first_reaching(x, curve(400.0), 0.5) for _ in range(6)]
        held += not speedup(ours, theirs).log_ratio.excludes(truth)
    assert 0.925 <= held / 1000 <= 0.975


def test_at_the_slower_plateau_every_ratio_tends_to_one() -> None:
    """Why levels are named beforehand: at what the faster method ends with, nothing is seen of its speed."""
    x = np.linspace(0, 768, 400)
    fast, slow = 0.2 * (1 - np.exp(-x / 40)), 0.4 * (1 - np.exp(-x / 800))
    at_half = speedup([first_reaching(x, fast, 0.1)], [first_reaching(x, slow, 0.1)]).ratio.value
    at_plateau = speedup([first_reaching(x, fast, fast.max())], [first_reaching(x, slow, fast.max())]).ratio.value
    assert at_half > 6
    assert at_plateau < 1

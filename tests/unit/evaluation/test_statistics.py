"""Laws of the statistics: against scipy, closed forms, and the coverage of simulated intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kedge.evaluation.statistics import (
    holm,
    mean_interval,
    paired_difference,
    paired_p,
    rate_interval,
    sign_test,
    unit_means,
    wilson,
    win_rate,
)
from kedge.evaluation.t_distribution import incomplete_beta, two_sided_p, two_sided_quantile


@pytest.mark.parametrize("df", [1, 2, 3, 7, 30, 499, 3999, 100_000, 0.5])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99, 0.9999])
def test_student_quantile_equals_scipy(df: float, level: float) -> None:
    assert two_sided_quantile(level, df) == pytest.approx(stats.t.ppf((1 + level) / 2, df), rel=1e-9)


@given(t=st.floats(-40, 40), df=st.floats(0.5, 5000))
@settings(max_examples=200, deadline=None)
def test_student_p_equals_scipy(t: float, df: float) -> None:
    assert two_sided_p(t, df) == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-8, abs=1e-300)


def test_student_edges() -> None:
    assert two_sided_p(math.inf, 3) == 0.0
    assert math.isnan(two_sided_p(math.nan, 3))
    assert incomplete_beta(2, 3, 0) == 0
    assert incomplete_beta(2, 3, 1) == 1
    with pytest.raises(ValueError, match="inside"):
        two_sided_quantile(1.0, 3)


def test_mean_interval_equals_scipy() -> None:
    x = np.random.default_rng(0).gamma(2.0, size=37)
    ours = mean_interval(x)
    low, high = stats.t.interval(0.95, 36, x.mean(), stats.sem(x))
    assert (ours.value, ours.low, ours.high) == pytest.approx((x.mean(), low, high), rel=1e-10)
    assert ours.half_width == pytest.approx((high - low) / 2)
    assert ours.units == 37


def test_groups_are_the_units() -> None:
    values = [1.0, 3.0, 10.0, 10.0, 4.0]
    groups = ["a", "a", "b", "b", "c"]
    assert unit_means(values, groups).tolist() == [2.0, 10.0, 4.0]
    assert mean_interval(values, groups) == mean_interval([2.0, 10.0, 4.0])


def test_one_unit_says_nothing_about_spread() -> None:
    interval = mean_interval([1.0, 2.0], ["a", "a"])
    assert interval.value == 1.5
    assert math.isinf(interval.half_width)
    assert interval.to_dict() == {"value": 1.5, "low": None, "high": None, "units": 1, "level": 0.95}
    assert math.isnan(paired_p([1.0], [2.0]))


@pytest.mark.parametrize(
    ("values", "groups", "message"),
    [
        ([], None, "at least one"),
        ([1.0, math.nan], None, "1 of 2 values are not finite"),
        ([1.0], ["a", "b"], "1 values but 2"),
    ],
)
def test_bad_input_is_refused(values: list[float], groups: list[str] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unit_means(values, groups)


def test_paired_difference_and_p_equal_scipy() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=50)
    b = a + rng.normal(0.1, 0.2, size=50)
    reference = stats.ttest_rel(b, a)
    ours = paired_difference(b, a)
    interval = reference.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert paired_p(b, a) == pytest.approx(reference.pvalue, rel=1e-8)
    assert paired_p(a, a) == 1.0
    assert paired_p(a + 1, a) < 1e-100
    with pytest.raises(ValueError, match="same shape"):
        paired_difference(a, b[:3])


def test_constant_scores_have_no_width() -> None:
    assert mean_interval([2.0] * 5, method="bootstrap").half_width == 0


@given(scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
@settings(max_examples=30, deadline=None)
def test_intervals_follow_units_of_measurement(scale: float, shift: float) -> None:
    x = np.random.default_rng(2).normal(size=12)
    for method in ("t", "bootstrap"):
        plain = mean_interval(x, method=method, draws=500)
        moved = mean_interval(x * scale + shift, method=method, draws=500)
        assert moved.low == pytest.approx(plain.low * scale + shift, rel=1e-6, abs=1e-6)
        assert moved.high == pytest.approx(plain.high * scale + shift, rel=1e-6, abs=1e-6)
        assert plain.scaled(scale).half_width == pytest.approx(moved.half_width, rel=1e-6)


def test_bootstrap_is_seeded_and_near_t_for_normal_scores() -> None:
    x = np.random.default_rng(3).normal(size=200)
    first = mean_interval(x, method="bootstrap", seed=5)
    assert first == mean_interval(x, method="bootstrap", seed=5)
    assert first != mean_interval(x, method="bootstrap", seed=6)
    assert first.half_width == pytest.approx(mean_interval(x).half_width, rel=0.05)


# Coverage: 2,000 worlds with a known truth; the share of intervals that hold it, between 93 and 97 %. With 2,000
# worlds the standard error of that share is 0.5 %, so a right interval fails here about once in 20,000 seeds.
WORLDS = 2000


def covers(make_interval, truth: float) -> float:
    return float(np.mean([not make_interval(np.random.default_rng(seed)).excludes(truth) for seed in range(WORLDS)]))


def test_coverage_of_t_mean() -> None:
    assert 0.93 <= covers(lambda rng: mean_interval(rng.normal(1.0, 2.0, size=25)), 1.0) <= 0.97


def test_the_bootstrap_interval_is_the_studentised_one() -> None:
    """Efron and Tibshirani 1993, Eq. (12.22): (mean − t_high · error, mean − t_low · error), step by step.

    A long tail to the right pulls t to the left, so the interval reaches further to the right.
    """
    x = np.random.default_rng(0).gamma(0.5, size=40)
    rng = np.random.default_rng(7)
    t = []
    for row in rng.integers(0, 40, (2000, 40)):
        t.append((x[row].mean() - x.mean()) / (x[row].std(ddof=1) / math.sqrt(40)))
    error = x.std(ddof=1) / math.sqrt(40)
    low, high = np.quantile(t, 0.025, method="lower"), np.quantile(t, 0.975, method="higher")
    interval = mean_interval(x, method="bootstrap", seed=7, draws=2000)
    assert interval.low == pytest.approx(x.mean() - high * error, rel=1e-12)
    assert interval.high == pytest.approx(x.mean() - low * error, rel=1e-12)
    assert interval.high - x.mean() > 1.2 * (x.mean() - interval.low)


def test_coverage_of_bootstrap_mean_of_skewed_scores() -> None:
    def world(rng):
        return mean_interval(rng.gamma(2.0, size=60), method="bootstrap", draws=600, seed=int(rng.integers(2**31)))

    assert 0.93 <= covers(world, 2.0) <= 0.97


def clustered(rng: np.random.Generator, prompts: int = 40, samples: int = 4) -> tuple[np.ndarray, list[int]]:
    """Scores whose prompts differ more than the samples of a prompt do."""
    scores = rng.normal(0, 1.0, (prompts, 1)) + rng.normal(0, 0.5, (prompts, samples))
    return scores.ravel(), [i for i in range(prompts) for _ in range(samples)]


def test_coverage_of_clustered_mean_and_of_the_mistake_it_avoids() -> None:
    assert 0.93 <= covers(lambda rng: mean_interval(*clustered(rng)), 0.0) <= 0.97
    assert covers(lambda rng: mean_interval(clustered(rng)[0]), 0.0) < 0.80


def test_coverage_of_paired_difference() -> None:
    def world(rng):
        base, groups = clustered(rng)
        return paired_difference(base + 0.1 + rng.normal(0, 0.3, base.shape), base, groups)

    assert 0.93 <= covers(world, 0.1) <= 0.97


@pytest.mark.parametrize("rate", [0.5, 0.7])
def test_coverage_of_win_rate(rate: float) -> None:
    def world(rng):
        return win_rate((rng.random(200) < rate).astype(float), np.full(200, 0.5))

    assert 0.93 <= covers(world, rate) <= 0.97


@pytest.mark.parametrize("method", ["wilson", "bootstrap"])
def test_coverage_of_clustered_win_rate(method) -> None:
    shift = 0.3
    truth = float(stats.norm.cdf(shift / math.sqrt(1 + 0.25)))

    def world(rng):
        scores, groups = clustered(rng, prompts=80)
        return win_rate(scores + shift, np.zeros_like(scores), groups, method=method, draws=400)

    assert 0.93 <= covers(world, truth) <= 0.97


def test_wilson_equals_scipy() -> None:
    for wins, n in [(0, 10), (3, 10), (10, 10), (150, 300)]:
        reference = stats.binomtest(wins, n).proportion_ci(0.95, method="wilson")
        assert wilson(wins, n) == pytest.approx((reference.low, reference.high), abs=1e-12)
    with pytest.raises(ValueError, match="wins"):
        wilson(3, 2)


def test_win_rate_counts_ties_as_half() -> None:
    interval = win_rate([1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 3.05, 9.0], margin=0.1)
    assert interval.value == pytest.approx((1 + 0.5 + 0.5 + 0) / 4)
    assert (interval.low, interval.high) == pytest.approx(wilson(2.0, 4))


def test_win_rate_never_shrinks_to_a_point() -> None:
    all_won = win_rate(np.ones(20), np.zeros(20))
    assert all_won.value == 1.0
    assert all_won.low == pytest.approx(wilson(20, 20)[0])
    assert win_rate(np.ones(20), np.ones(20)).half_width > 0.1  # nothing but ties


def test_win_rate_of_alike_samples_counts_prompts() -> None:
    outcomes = np.repeat([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], 10)
    groups = [i for i in range(6) for _ in range(10)]
    interval = rate_interval(outcomes, groups)
    low, high = wilson(4, 6)
    assert interval.low == pytest.approx(low, abs=1e-9)
    assert interval.high == pytest.approx(high, abs=1e-9)


def test_prompts_of_one_rate_count_every_outcome() -> None:
    """One win of two in each prompt differs within prompts alone; it was taken for outcomes that are all alike."""
    groups = [i for i in range(40) for _ in range(2)]
    even = rate_interval([1.0, 0.0] * 40, groups)
    assert (even.low, even.high) == pytest.approx(wilson(40, 80))
    uneven = rate_interval([1.0, 1.0, 0.0, 0.0, *[1.0, 0.0] * 38], groups)
    assert uneven.half_width == pytest.approx(even.half_width, rel=0.02)


def test_ties_never_make_more_outcomes_than_there_are() -> None:
    """Ties vary less than wins and losses: without the upper bound, 20 outcomes would count as 190."""
    interval = rate_interval([0.5] * 18 + [1.0, 0.0])
    assert (interval.low, interval.high) == pytest.approx(wilson(10, 20))


@given(seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_win_rates_of_the_two_sides_sum_to_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 4, 30).astype(float), rng.integers(0, 4, 30).astype(float)
    ours, theirs = win_rate(a, b), win_rate(b, a)
    assert ours.value + theirs.value == pytest.approx(1)
    assert ours.low + theirs.high == pytest.approx(1)


def test_sign_test_equals_scipy() -> None:
    for wins, losses in [(0, 0), (5, 5), (9, 1), (120, 80)]:
        expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9)


def test_holm_worked_example_and_order() -> None:
    # Sorted: 0.005·4, 0.01·3, 0.03·2, 0.04·1, then made monotone.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).max() == 1.0
    assert holm([]).shape == (0,)


def test_holm_keeps_the_family_wise_error() -> None:
    rng = np.random.default_rng(0)
    rejected = np.mean([(holm(rng.random(6)) < 0.05).any() for _ in range(5000)])
    assert 0.04 < rejected < 0.06

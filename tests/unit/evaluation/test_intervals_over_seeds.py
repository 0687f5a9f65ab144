"""Laws of intervals over prompts and training seeds: closed forms, and how often they hold a known truth."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from kedge.evaluation.statistics import (
    Interval,
    crossed_rate,
    equivalence,
    mean_interval,
    paired_difference,
    paired_p,
    rate_interval,
    win_rate,
)
from kedge.evaluation.statistics.rates import logit_interval
from kedge.evaluation.statistics.standard_error import estimate, over
from kedge.evaluation.t_distribution import critical_value

World = Callable[[np.random.Generator], Interval]


def coverage(world: World, truth: float, worlds: int) -> float:
    rng = np.random.default_rng(0)
    return float(np.mean([not world(rng).excludes(truth) for _ in range(worlds)]))


def scores(
    rng: np.random.Generator, seeds: int, prompts: int, pictures: int = 1, *, seed: float, prompt: float, both: float
) -> tuple[np.ndarray, list[int]]:
    """``[S, P · n]`` with effects of seed, prompt, both, and noise of 1 a picture; the prompts' labels."""
    table = (
        rng.normal(0, seed, (seeds, 1, 1))
        + rng.normal(0, prompt, (1, prompts, 1))
        + rng.normal(0, both, (seeds, prompts, 1))
        + rng.normal(0, 1, (seeds, prompts, pictures))
    )
    return table.reshape(seeds, -1), np.repeat(np.arange(prompts), pictures).tolist()


def test_one_row_is_a_list() -> None:
    x = np.random.default_rng(0).normal(size=9)
    assert mean_interval(x[None]) == mean_interval(x)
    assert rate_interval(x[None] > 0) == rate_interval((x > 0).astype(float))


def test_where_prompts_do_not_differ_seeds_decide_and_the_other_way_round() -> None:
    rng = np.random.default_rng(1)
    table = rng.normal(size=(3, 40))
    apart = table - table.mean(0) + np.array([[-1.0], [0.0], [1.0]])  # seeds alone differ
    assert mean_interval(apart).half_width == pytest.approx(mean_interval(apart.mean(1)).half_width)
    assert paired_p(apart + 1, np.zeros_like(apart)) == pytest.approx(stats.ttest_1samp(apart.mean(1), -1).pvalue)
    alike = np.repeat(table[:1], 3, axis=0)  # the same scores three times
    assert mean_interval(alike).half_width == pytest.approx(mean_interval(alike[0]).half_width)
    assert paired_p(alike, np.zeros_like(alike)) == pytest.approx(stats.ttest_1samp(table[0], 0).pvalue)
    assert mean_interval(np.full((8, 5), 2.0)).half_width == 0


def test_the_error_equals_the_analysis_of_variance_by_hand() -> None:
    # y = [[1, 2, 6], [3, 4, 11]]: mean 4.5, MS_seed 13.5, MS_prompt 24.5, MS_residual 1.5 (worked with pencil).
    known = estimate(np.array([[1.0, 2.0, 6.0], [3.0, 4.0, 11.0]]))
    seeds, prompts = 13.5, 24.5 - 1.5
    assert known.value == pytest.approx(4.5)
    assert known.error**2 == pytest.approx((seeds + prompts) / 6)
    assert known.parts == (pytest.approx((seeds / 36.5, 1)), pytest.approx((prompts / 36.5, 2)))
    t1, t2 = stats.t.ppf(0.975, [1, 2])
    root = (seeds * math.sqrt(t1) + prompts * math.sqrt(t2)) / 36.5
    assert known.half_width(0.95) == pytest.approx(root**2 * known.error)


def test_more_seeds_than_prompts_is_the_same_table_turned() -> None:
    table, _ = scores(np.random.default_rng(2), 12, 4, seed=0.5, prompt=0.8, both=0.2)
    assert estimate(table).half_width(0.95) == pytest.approx(estimate(table.T).half_width(0.95))


@pytest.mark.parametrize("alpha", [0.5, 0.05, 1e-3, 1e-9])
def test_a_p_value_agrees_with_the_interval_of_its_level(alpha: float) -> None:
    table, _ = scores(np.random.default_rng(3), 4, 20, seed=0.5, prompt=1.0, both=0.2)
    known = estimate(table)
    edge = known.value + known.critical(alpha) * known.error
    assert known.p(edge) == pytest.approx(alpha, rel=1e-6)
    assert known.p_above(edge) == pytest.approx(1 - alpha / 2, rel=1e-6)
    assert known.critical(alpha) < critical_value(alpha, 3)
    assert math.isnan(over(np.ones(1)).p())


def test_several_pictures_of_a_prompt_are_one_unit() -> None:
    table, prompts = scores(np.random.default_rng(3), 7, 12, 4, seed=0.3, prompt=1.0, both=0.2)
    by_prompt = table.reshape(7, 12, 4).mean(2)
    assert mean_interval(table, prompts) == mean_interval(by_prompt)
    assert mean_interval(table, prompts).half_width > 1.5 * mean_interval(table).half_width


def test_a_base_of_one_seed_is_paired_with_every_seed() -> None:
    rng = np.random.default_rng(4)
    tuned, base = rng.normal(size=(3, 20)), rng.normal(size=20)
    assert paired_difference(tuned, base) == mean_interval(tuned - base)
    assert win_rate(tuned, base).value == pytest.approx(np.mean(tuned > base))
    with pytest.raises(ValueError, match="same shape"):
        paired_difference(tuned, rng.normal(size=(2, 20)))


def test_win_rates_count_pictures_not_averages() -> None:
    """Averages over seeds win more often than pictures do: 67 % of pictures looks like 75 %."""
    rng = np.random.default_rng(5)
    d = rng.normal(0.44, 1.0, (3, 4000))
    assert win_rate(d, np.zeros_like(d)).value == pytest.approx(0.67, abs=0.01)
    assert win_rate(d.mean(0), np.zeros(4000)).value == pytest.approx(0.777, abs=0.01)


@pytest.mark.parametrize(("seeds", "prompts", "pictures"), [(3, 66, 1), (4, 48, 2), (5, 24, 3), (8, 12, 2)])
@pytest.mark.parametrize("seed", [0.0, 0.1, 0.5])
def test_coverage_of_means(seeds: int, prompts: int, pictures: int, seed: float) -> None:
    def world(rng: np.random.Generator) -> Interval:
        return mean_interval(*scores(rng, seeds, prompts, pictures, seed=seed, prompt=0.8, both=0.3))

    assert 0.93 <= coverage(world, 0.0, 1000) <= 0.98  # the standard error of the share is 0.7 %


def shares_held(seeds: int, prompts: int, draws: int, alpha: float = 0.05) -> list[float]:
    """How often the interval holds the truth, for all ratios of the variances, from mean squares drawn at once."""
    rng = np.random.default_rng(1)
    of_seeds = rng.chisquare(seeds - 1, draws) / (seeds - 1)
    of_prompts = rng.chisquare(prompts - 1, draws) / (prompts - 1)
    of_residual = rng.chisquare((seeds - 1) * (prompts - 1), draws) / ((seeds - 1) * (prompts - 1))
    square = rng.standard_normal(draws) ** 2
    roots = math.sqrt(critical_value(alpha, seeds - 1)), math.sqrt(critical_value(alpha, prompts - 1))
    ratios, held = (1.0, 1.5, 3.0, 6.0, 20.0, 50.0, 200.0, 1000.0), []  # E MS / E MS_residual
    for prompt in ratios[:-1]:
        for seed in ratios:
            more = np.maximum(0, prompt * of_prompts - of_residual)
            total = seed * of_seeds + more
            critical = ((seed * of_seeds * roots[0] + more * roots[1]) / total) ** 2
            held.append(float(((seed + prompt - 1) * square <= critical**2 * total).mean()))
    return held


@pytest.mark.parametrize(
    ("seeds", "low", "high"), [(2, 0.925, 0.978), (3, 0.945, 0.972), (4, 0.945, 0.972), (8, 0.945, 0.97)]
)
def test_coverage_whatever_the_variances_are(seeds: int, low: float, high: float) -> None:
    """What docs/evaluation.md says, also where nothing varies over seeds; the error of a share is 0.1 %."""
    for prompts in (40, 132):
        held = shares_held(seeds, prompts, 40_000)
        assert low <= min(held)
        assert max(held) <= high


def test_the_mean_squares_of_that_simulation_are_those_of_tables() -> None:
    """The same rule on whole tables, at one ratio of the variances each."""
    for seed, prompt in ((0.0, 0.0), (0.0, 1.0), (0.3, 0.0)):

        def world(rng: np.random.Generator, seed: float = seed, prompt: float = prompt) -> Interval:
            return mean_interval(scores(rng, 3, 40, seed=seed, prompt=prompt, both=0.0)[0])

        assert 0.93 <= coverage(world, 0.0, 1500) <= 0.98


def skewed(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    return rng.exponential(size=size) - 1


@pytest.mark.parametrize(
    ("seeds", "prompts", "low"), [(1, 3, 0.94), (1, 8, 0.94), (3, 3, 0.93), (3, 8, 0.94), (5, 8, 0.94), (2, 20, 0.93)]
)
def test_coverage_of_small_samples(seeds: int, prompts: int, low: float) -> None:
    """Three seeds of three prompts are little, and the interval says so by its width."""

    def world(rng: np.random.Generator) -> Interval:
        table, _ = scores(rng, seeds, prompts, seed=0.3 * (seeds > 1), prompt=0.5, both=0.0)
        return mean_interval(table)

    assert low <= coverage(world, 0.0, 1000) <= 0.985


@pytest.mark.parametrize(("seeds", "prompts", "low"), [(1, 8, 0.885), (1, 66, 0.92), (3, 8, 0.93), (8, 66, 0.92)])
def test_coverage_of_skewed_scores(seeds: int, prompts: int, low: float) -> None:
    """Exponential effects of prompts and seeds: what docs/evaluation.md tells is lost to skew."""

    def world(rng: np.random.Generator) -> Interval:
        of_seeds = 0.3 * skewed(rng, (seeds, 1)) * (seeds > 1)
        return mean_interval(of_seeds + 0.5 * skewed(rng, (1, prompts)) + skewed(rng, (seeds, prompts)))

    assert low <= coverage(world, 0.0, 1000) <= 0.98


def test_where_nothing_varies_the_interval_is_a_point_and_p_is_sure() -> None:
    """A reward that is one constant apart on every prompt of every seed; and rates that are all alike are no point."""
    for table in (np.full((3, 4), 0.25), np.full(4, 0.25)):
        interval = mean_interval(table)
        assert (interval.low, interval.value, interval.high) == (0.25, 0.25, 0.25)
        assert paired_p(table, np.zeros_like(table)) == 0.0
        assert paired_p(table, table) == 1.0
    assert rate_interval(np.ones((3, 4))).low < 0.55


@pytest.mark.parametrize(("seeds", "prompts"), [(2, 20), (3, 8), (3, 20)])
@pytest.mark.parametrize("rate", [0.5, 0.8])
def test_coverage_of_small_rates(seeds: int, prompts: int, rate: float) -> None:
    """At least what is said: few seeds of few prompts make rates wider than they need be."""

    def world(rng: np.random.Generator) -> Interval:
        table, _ = scores(rng, seeds, prompts, seed=0.3, prompt=0.0, both=0.0)
        return rate_interval((table + stats.norm.ppf(rate) * math.sqrt(1.09) > 0).astype(float))

    assert coverage(world, rate, 500) >= 0.94


def test_prompts_alone_do_not_cover_other_seeds() -> None:
    """The mistake: 95 % intervals that hold the truth in a third of studies."""

    def world(rng: np.random.Generator) -> Interval:
        return mean_interval(scores(rng, 3, 66, seed=0.5, prompt=0.8, both=0.0)[0].mean(0))

    assert coverage(world, 0.0, 1000) < 0.6


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_coverage_of_rates(seeds: int) -> None:
    def world(rng: np.random.Generator) -> Interval:
        table, prompts = scores(rng, seeds, 48, seed=0.2, prompt=0.5, both=0.2)
        return win_rate(table + 0.5, np.zeros_like(table), prompts)

    truth = float(stats.norm.cdf(0.5 / math.sqrt(1 + 0.2**2 + 0.5**2 + 0.2**2)))
    assert 0.925 <= coverage(world, truth, 1000) <= 0.975


def test_rates_that_are_all_alike_do_not_shrink_to_a_point() -> None:
    interval = rate_interval(np.ones((4, 30)))
    assert interval.value == interval.high == 1.0
    assert interval.low == rate_interval(np.ones(30)).low
    split = rate_interval(np.repeat([[1.0], [0.0], [1.0]], 30, axis=1))
    assert split.half_width > 0.45  # three seeds that disagree wholly say next to nothing


def votes(rng: np.random.Generator, seeds: int, prompts: int, raters: int) -> tuple[np.ndarray, list[list[int]]]:
    latent = (
        rng.normal(0, 0.2 * (seeds > 1), (seeds, 1, 1))
        + rng.normal(0, 0.5, (1, prompts, 1))
        + rng.normal(0, 0.4, (1, 1, raters))
        + rng.normal(0, 1, (seeds, prompts, raters))
    )
    levels = np.meshgrid(np.arange(seeds), np.arange(prompts), np.arange(raters), indexing="ij")
    return (latent + 0.5 > 0).astype(float).ravel(), [level.ravel().tolist() for level in levels]


@pytest.mark.parametrize(("seeds", "raters"), [(1, 20), (4, 6)])
def test_coverage_over_seeds_prompts_and_raters(seeds: int, raters: int) -> None:
    truth = float(stats.norm.cdf(0.5 / math.sqrt(1 + 0.2**2 * (seeds > 1) + 0.5**2 + 0.4**2)))

    def world(rng: np.random.Generator) -> Interval:
        outcomes, factors = votes(rng, seeds, 24, raters)
        return crossed_rate(outcomes, factors)

    assert 0.92 <= coverage(world, truth, 400) <= 0.98


def test_crossed_rates_at_their_edges() -> None:
    outcomes, factors = votes(np.random.default_rng(0), 3, 10, 4)
    plain = crossed_rate(outcomes, factors)
    assert plain.units == 3
    assert crossed_rate(outcomes, [*factors, [0] * len(outcomes)]) == plain
    assert crossed_rate(outcomes, factors[::-1]) == pytest.approx(plain)
    assert crossed_rate(np.ones(12), [list(range(12))]).low == rate_interval(np.ones(12)).low
    with pytest.raises(ValueError, match="two levels"):
        crossed_rate(outcomes, [[0] * len(outcomes)])
    with pytest.raises(ValueError, match="labels"):
        crossed_rate(outcomes, [[0, 1]])


def test_a_crossed_rate_over_single_votes_has_students_error() -> None:
    """Each vote a level of its own: the variance of the mean is s²/n, with n − 1 degrees of freedom."""
    outcomes = np.array([1.0] * 7 + [0.0] * 4 + [0.5])
    n, rate = len(outcomes), outcomes.mean()
    error = outcomes.std(ddof=1) / math.sqrt(n)
    low, high = logit_interval(rate, error, stats.t.ppf(0.975, n - 1))
    interval = crossed_rate(outcomes, [list(range(n))])
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-9)


def test_a_factor_that_repeats_another_adds_nothing() -> None:
    outcomes, factors = votes(np.random.default_rng(1), 3, 10, 4)
    again, once = crossed_rate(outcomes, [*factors, factors[1]]), crossed_rate(outcomes, factors)
    assert (again.low, again.high, again.units) == pytest.approx((once.low, once.high, once.units))


def test_equivalence_equals_two_t_tests() -> None:
    rng = np.random.default_rng(6)
    a = rng.normal(0, 1, 60)
    b = a + rng.normal(0.02, 0.2, 60)
    tested = equivalence(b, a, 0.1)
    d = b - a
    below = stats.ttest_1samp(d, -0.1, alternative="greater").pvalue
    above = stats.ttest_1samp(d, 0.1, alternative="less").pvalue
    assert tested.p == pytest.approx(max(below, above), rel=1e-9)
    assert tested.difference.level == pytest.approx(0.9)
    assert tested.equivalent == (tested.difference.low > -0.1 and tested.difference.high < 0.1)
    with pytest.raises(ValueError, match="positive"):
        equivalence(b, a, 0.0)


def test_equivalence_is_seldom_claimed_of_what_differs_by_the_margin() -> None:
    rng = np.random.default_rng(7)
    claims = 0
    for _ in range(300):
        table, _ = scores(rng, 8, 30, seed=0.1, prompt=0.2, both=0.0)
        claims += equivalence(table + 0.4, np.zeros_like(table), 0.4).equivalent
    assert 0.015 <= claims / 300 <= 0.09  # 5 %, with a standard error of 1.3 %
    assert not equivalence([0.0, 0.5, -0.5], [0.0, 0.0, 0.0], 0.4).equivalent  # too few to tell


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0.0, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("prompt", [0.3, 1.0])
@pytest.mark.parametrize("seeds", [3, 4, 5, 6, 8, 12])
def test_coverage_of_means_widely(seeds: int, prompt: float, seed: float) -> None:
    def world(rng: np.random.Generator) -> Interval:
        return mean_interval(*scores(rng, seeds, 66, 2, seed=seed, prompt=prompt, both=0.2))

    assert 0.93 <= coverage(world, 0.0, 6000) <= 0.97 + 0.005  # the standard error of the share is 0.3 %

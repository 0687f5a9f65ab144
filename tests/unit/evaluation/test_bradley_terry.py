from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, stats

from kedge.evaluation.bradley_terry import Votes, _student, bradley_terry, bradley_terry_intervals


def simulate(strengths: np.ndarray, votes: int, seed: int) -> Votes:
    rng = np.random.default_rng(seed)
    left = rng.integers(0, len(strengths), votes)
    right = (left + rng.integers(1, len(strengths), votes)) % len(strengths)
    p = 1 / (1 + np.exp(strengths[right] - strengths[left]))
    return Votes(left, right, (rng.random(votes) < p).astype(float))


def test_two_models_have_the_closed_form() -> None:
    strengths = bradley_terry([[0, 30], [10, 0]])
    assert strengths[0] - strengths[1] == pytest.approx(np.log(3), abs=1e-9)
    assert strengths.sum() == pytest.approx(0, abs=1e-12)


def test_maximises_the_likelihood() -> None:
    wins = simulate(np.array([0.8, 0.1, -0.2, -0.7]), 400, 0).wins(4)

    def negative_log_likelihood(s):
        return float((wins * np.log1p(np.exp(s[None, :] - s[:, None]))).sum())

    reference = optimize.minimize(negative_log_likelihood, np.zeros(4), tol=1e-12).x
    assert bradley_terry(wins) == pytest.approx(reference - reference.mean(), abs=1e-4)


def test_ties_are_half_a_win_each() -> None:
    votes = Votes(np.array([0, 0]), np.array([1, 1]), np.array([0.5, 0.5]))
    assert votes.wins(2).tolist() == [[0, 1], [1, 0]]
    assert bradley_terry(votes.wins(2)) == pytest.approx([0, 0])


def test_undetermined_strengths_are_refused_and_a_prior_helps() -> None:
    never_lost = [[0, 5, 3], [0, 0, 2], [0, 2, 0]]
    with pytest.raises(ValueError, match=r"prior=0\.1"):
        bradley_terry(never_lost)
    strengths = bradley_terry(never_lost, prior=0.1)
    assert np.isfinite(strengths).all()
    assert strengths.argmax() == 0
    with pytest.raises(ValueError, match="never met"):
        bradley_terry([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])


def test_intervals_cover_the_truth() -> None:
    truth = np.array([0.6, 0.0, -0.6])
    held = [
        [not interval.excludes(s) for interval, s in zip(intervals, truth, strict=True)]
        for intervals in (bradley_terry_intervals(simulate(truth, 300, seed), 3, draws=120) for seed in range(150))
    ]
    assert 0.935 <= np.mean(held) <= 0.985  # 150 worlds only: the standard error of the share is about 1 %


def test_six_groups_are_covered_too() -> None:
    """Percentiles of the same bootstrap would hold the truth in 85 % of such studies."""
    truth = np.array([0.6, 0.0, -0.6])
    held = []
    for seed in range(100):
        votes = simulate(truth, 180, seed)
        grouped = replace(votes, groups=[f"rater {i % 6}" for i in range(180)])
        for interval, strength in zip(bradley_terry_intervals(grouped, 3, draws=60), truth, strict=True):
            held.append(not interval.excludes(strength))
    assert 0.925 <= np.mean(held) <= 0.985


def test_resampled_groups_spread_too_little_by_a_known_factor() -> None:
    """A bootstrap of G groups has (G − 1) / G of the estimate's variance; the studies above are too few to notice."""
    assert _student(0.0, 1.0, 6, 0.95).half_width == pytest.approx(stats.t.ppf(0.975, 5) * np.sqrt(6 / 5))


def test_one_group_says_nothing_about_the_spread():
    votes = Votes(np.array([0, 0, 1]), np.array([1, 1, 0]), np.array([1.0, 1.0, 1.0]), groups=["a", "a", "a"])
    assert all(np.isinf(interval.half_width) for interval in bradley_terry_intervals(votes, 2, draws=10))


def test_groups_widen_the_interval() -> None:
    votes = simulate(np.array([0.5, -0.5]), 60, 3)
    repeated = Votes(*(np.repeat(x, 5) for x in (votes.left, votes.right, votes.outcome)))
    grouped = Votes(repeated.left, repeated.right, repeated.outcome, groups=np.repeat(np.arange(60), 5).tolist())
    naive = bradley_terry_intervals(repeated, 2, draws=300)[0]
    honest = bradley_terry_intervals(grouped, 2, draws=300)[0]
    assert honest.units == 60
    assert honest.half_width > 1.8 * naive.half_width

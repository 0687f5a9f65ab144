"""Peaks along runs, at the step that the other seeds chose."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.invented_records import record, rising
from kedge_papers.records.peaks import cross_fitted, others_peak

REWARD, TRUTH = "held_out/pickscore@emoji", "held_out/oracle"


def runs(truths: list[list[float]]):
    curves = [rising([0, 10, 20], [0, 1, 3], **{TRUTH: truth}) for truth in truths]
    return [record("x", seed, curve=curve) for seed, curve in enumerate(curves)]


def test_each_seeds_peak_is_where_the_others_are_highest():
    peak = cross_fitted(runs([[0.4, 0.9, 0.5], [0.4, 0.5, 0.6], [0.4, 0.45, 0.6]]), REWARD, TRUTH)
    assert peak.steps == (2.0, 1.0, 1.0)
    assert peak.rise == pytest.approx((0.1, 0.1, 0.05))
    assert peak.truth_after == pytest.approx((0.0, 0.1, 0.15))
    assert peak.reward_after == pytest.approx((0.0, 2.0, 2.0))


def test_one_seed_has_its_own_peak_and_none_without_a_curve():
    assert cross_fitted(runs([[0.4, 0.9, 0.5]]), REWARD, TRUTH).truth_after == pytest.approx((-0.4,))
    assert cross_fitted(runs([[0.4, 0.9, 0.5]]), REWARD, "held_out/other") is None
    assert others_peak(np.array([[0.0, 1.0], [5.0, 0.0]]), 0) == 0


def test_a_run_that_was_cut_short_has_no_end_and_shortens_nobodys():
    """One interrupted seed made its last step everybody's end: the fall of the others was gone."""
    whole = runs([[0.4, 0.9, 0.5], [0.4, 0.8, 0.4], [0.4, 0.9, 0.3]])
    short = record("x", 3, curve={TRUTH: [0.4, 0.9], **rising([0, 10], [0, 1])})
    peak = cross_fitted([*whole, short], REWARD, TRUTH)
    assert peak == cross_fitted(whole, REWARD, TRUTH)
    assert max(peak.truth_after) < -0.3


def test_seeds_that_were_evaluated_at_other_steps_are_compared_at_shared_ones():
    curves = [rising([0, 10, 20], [0, 1, 3], **{TRUTH: [0.4, 0.9, 0.5]}) for _ in range(2)]
    curves[1] = {**rising([0, 5, 10, 20], [0, 0.5, 1, 3], **{TRUTH: [0.4, 0.1, 0.9, 0.5]}), "step": [0, 0.5, 1, 2]}
    peak = cross_fitted([record("x", seed, curve=curve) for seed, curve in enumerate(curves)], REWARD, TRUTH)
    assert peak.steps == (1.0, 1.0)
    assert peak.truth_after == pytest.approx((-0.4, -0.4))

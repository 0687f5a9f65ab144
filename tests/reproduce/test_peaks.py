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

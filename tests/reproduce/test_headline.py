"""The README's three sentences say what the records say, whatever came out, and nothing that is not recorded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from docs.headline import figure, sentences

from helpers.invented_records import PROMPTS, record, result, rising
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord

REWARD, TRUTH = "pickscore@emoji", "oracle"
SPREAD = np.linspace(-1, 1, len(PROMPTS))
BASE = record("base-consistency-methods", None, {REWARD: SPREAD / SPREAD.std(ddof=1)})  # a standard deviation of 1
TRUTHS = {"0.03": 0.1, "0.01": 0.3, "0.003": 0.2, "0": 0.0}
STEPS = list(range(0, 240, 15))


def speed(ours: Sequence[float], theirs: Sequence[float]) -> Result:
    """Runs that have risen by one standard deviation at these queries, so by a half at half of them."""
    runs = [BASE]
    for family, ends in (("methods-none", ours), ("methods-rlcm", theirs)):
        for seed, end in enumerate(ends):
            curve = rising([0, end, 8000], [0, 1, 1]) if end < 8000 else rising([0, 8000], [0, 0.1])
            runs.append(record(family, seed, {REWARD: SPREAD}, curve=curve))
    return result(runs, "methods")


def drifting(peak: float) -> Result:
    """Runs at four strengths of the anchor whose truth is d (α − β ln d), highest at d = ``peak``."""
    runs, distances = [], np.sqrt(np.array(STEPS) / 10)
    for beta, truth in TRUTHS.items():
        for seed in range(3):
            alpha = 0.3 * (1 + math.log(peak)) + 0.01 * seed
            truths = distances * (alpha - 0.3 * np.log(np.maximum(distances, 1e-9)))
            curve = {"step": STEPS, "queries": [8.0 * step for step in STEPS], "path_kl": (distances**2).tolist()}
            curve |= {f"held_out/{TRUTH}": truths.tolist(), f"held_out/{REWARD}": distances.tolist()}
            scores = {TRUTH: np.full(len(PROMPTS), truth + 0.001 * seed), REWARD: np.zeros(len(PROMPTS))}
            runs.append(_swept(beta, seed, scores, curve))
    return result(runs, "hacking")


def _swept(beta: str, seed: int, scores: dict, curve: dict) -> RunRecord:
    run = record(f"beta-{beta}--pickscore", seed, scores, title=beta, curve=curve)
    return replace(run, config={"reward": REWARD, "algorithm": {"beta": float(beta), "beta_unit": 1.0}})


def test_what_the_anchor_changes_beside_a_tuned_run_without():
    both = speed([400, 400, 400], [1600, 1200, 1600])
    runs = [run for run in both.runs if run.name.split("--")[0] not in ("methods-none", "methods-kl")]
    for family, truth in (("methods-none", 0.5), ("methods-kl", 0.3)):
        for seed in range(3):
            scores = {REWARD: SPREAD, TRUTH: np.full(len(PROMPTS), truth + 0.01 * seed)}
            runs.append(record(family, seed, scores, curve=rising([0, 400, 8000], [0, 1, 1])))
    text = sentences({"methods": replace(both, runs=tuple(runs))})[-1]
    assert "with KL less that without is −0.2 ± " in text


def test_how_many_times_sooner_is_the_geometric_mean_over_seeds():
    (text,) = sentences({"methods": speed([400, 400, 400], [1600, 1200, 1600])})
    ratio = math.exp(np.mean(np.log([4, 3, 4])))
    assert f"{ratio:.2g} times (" in text
    assert "over 3 seeds" in text
    assert "got there" not in text


def test_a_method_that_does_not_get_there_is_said_to_and_its_bound_is_open():
    (text,) = sentences({"methods": speed([400, 500, 400], [1600, 9000, 1600])})
    assert "at least" in text
    assert "RLCM got there in 2 of 3" in text


@pytest.mark.parametrize(("peak", "expected"), [(3.0, "peaks at √KL = 3"), (40.0, "no peak up to √KL = 4.7")])
def test_where_the_truth_peaks_or_that_it_does_not(peak, expected):
    assert expected in sentences({"hacking": drifting(peak)})[0]


def test_what_the_anchor_buys_is_judged_on_the_other_seeds():
    text = sentences({"fig4": drifting(3.0)})[0]
    assert "β = 0.01" in text
    assert f"+{TRUTHS['0.01'] - TRUTHS['0']:g}" in text
    assert "3 seeds" in text


def test_nothing_is_said_or_drawn_of_what_is_not_recorded():
    assert sentences({}) == []
    assert figure({"methods": speed([400], [1600])}) is None
    assert sentences({"methods": speed([8000, 8000], [8000, 8000])}) == []


def test_the_figure_shows_both():
    drawn = figure({"methods": speed([400, 500], [1600, 1200]), "hacking": drifting(3.0)})
    left, right = drawn.axes
    assert [text.get_text() for text in left.get_legend().get_texts()] == [
        "ROCM, no anchor, tuned",
        "RLCM, tuned",
        "+0.5 sd",
    ]
    assert len(right.get_lines()) == len(TRUTHS)

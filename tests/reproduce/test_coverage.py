"""How often the intervals that pages print hold the truth, simulated: 93 to 97 % of studies, or more where said so.

Those of means, differences, rates, preferences and levels are simulated beside their code, in unit/evaluation; here are
those that are made of them on the way to a page.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from helpers.invented_records import record
from kedge.evaluation.statistics import Interval, crossed_rate, mean_interval
from kedge_papers.records.gradient_noise import gradient_noise, variance_ratio
from kedge_papers.records.peaks import others_peak
from kedge_papers.records.rows import difference, rows, standardised, win_rate
from kedge_papers.records.speed import sooner

LOW, HIGH = 0.93, 0.975  # 97 %, and the error of a share of 1,500 studies
PROMPTS = tuple(f"prompt {i}" for i in range(40))


def share(holds: list[bool]) -> float:
    return float(np.mean(holds))


def trained(rng, seeds: int, base: np.ndarray, rise: float, between: float) -> list:
    """Models that rise by ``rise`` ± ``between`` over seeds, on prompts that differ in how much they gain."""
    prompts = 0.3 * rng.standard_normal(len(PROMPTS))
    runs = []
    for seed in range(seeds):
        scores = base + rise + between * rng.standard_normal() + prompts + 0.3 * rng.standard_normal(len(PROMPTS))
        runs.append(record("x", seed, {"a": scores, "b": 2 * scores}, title="x", prompts=PROMPTS))
    return runs


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "between"), [(1, 0.0), (3, 0.0), (3, 0.3), (4, 0.1), (8, 0.1), (8, 0.4)])
def test_differences_of_tables(seeds, between):
    """A row of a table against its base; of one seed, where seeds do not differ, over prompts alone."""
    rng, holds = np.random.default_rng(1), []
    for _ in range(1500):
        base = rng.standard_normal(len(PROMPTS))
        runs = [record("base", None, {"a": base}, prompts=PROMPTS), *trained(rng, seeds, base, 0.2, between)]
        measured = rows(runs, "final")
        interval = difference(measured["x"], measured["base"], "a")
        holds.append(interval.low < 0.2 < interval.high)
    assert LOW <= share(holds) <= HIGH


@pytest.mark.slow
def test_differences_in_the_base_models_deviations():
    """The unit is estimated too, from as many pictures."""
    rng, holds = np.random.default_rng(2), []
    for _ in range(1500):
        base = rng.standard_normal(len(PROMPTS))
        scores = {"a": base, "b": 2 * base}
        runs = [record("base", None, scores, prompts=PROMPTS), *trained(rng, 8, base, 0.2, 0.1)]
        measured = rows(runs, "final")
        ours, theirs = (standardised(measured[name], measured["base"], ["a", "b"]) for name in ("x", "base"))
        interval = difference(ours, theirs, "mean")
        holds.append(interval.low < 0.2 < interval.high)
    assert LOW <= share(holds) <= HIGH


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "between"), [(3, 0.0), (3, 0.15), (5, 0.15)])
def test_win_rates_of_pictures(seeds, between):
    rng = np.random.default_rng(3)
    studies: list[Interval] = []
    for _ in range(1200):
        base = rng.standard_normal(len(PROMPTS))
        runs = [record("base", None, {"a": base}, prompts=PROMPTS), *trained(rng, seeds, base, 0.2, between)]
        measured = rows(runs, "final")
        studies.append(win_rate(measured["x"], measured["base"], "a"))
    truth = np.mean([study.value for study in studies])
    assert LOW <= share([study.low < truth < study.high for study in studies]) <= HIGH


def study(rng, seeds: int, of_seed: float, of_prompt: float, of_rater: float) -> tuple[list[float], list[list[int]]]:
    """Forty prompts, ten raters of its own for each pair of models, three of them on each prompt."""
    prompt_effects, outcomes, labels = of_prompt * rng.standard_normal(40), [], [[], [], []]
    for seed in range(seeds):
        seed_effect, rater_effects = of_seed * rng.standard_normal(), of_rater * rng.standard_normal(10)
        for prompt in range(40):
            for rater in rng.permutation(10)[:3]:
                lean = 0.5 + seed_effect + prompt_effects[prompt] + rater_effects[rater]
                outcomes.append(float(lean + rng.standard_normal() > 0))
                for column, value in zip(labels, (seed, prompt, 100 * seed + int(rater)), strict=True):
                    column.append(value)
    return outcomes, labels


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3, 8])
@pytest.mark.parametrize("effects", [(0.2, 0.5, 0.2), (0.0, 0.5, 0.2), (0.0, 0.0, 0.0), (0.4, 0.5, 0.4)])
def test_preferences_of_raters(seeds, effects):
    effects = (0.0, *effects[1:]) if seeds == 1 else effects  # one pair of models is asked about itself
    truth = NormalDist().cdf(0.5 / math.hypot(1, *effects))
    rng, holds = np.random.default_rng(8), []
    for _ in range(600):
        interval = crossed_rate(*study(rng, seeds, *effects))
        holds.append(interval.low < truth < interval.high)
    assert LOW - 0.01 <= share(holds) <= HIGH + 0.005  # of 600 studies: the error of a share is 0.9 %


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [4, 8])
def test_how_many_times_sooner(seeds):
    """Log-normal times to a level, none censored: the ratio's interval over seeds."""
    rng, holds = np.random.default_rng(4), []

    def run(family: str, seed: int, when: float):
        curve = {"step": [0, 1, 2], "queries": [0.0, when, 1e6], "held_out/a": [0.0, 1.0, 1.0]}
        return record(family, seed, curve=curve)

    for _ in range(1500):
        ours = [run("ours", seed, 100 * math.exp(0.4 * rng.standard_normal())) for seed in range(seeds)]
        theirs = [run("theirs", seed, 390 * math.exp(0.4 * rng.standard_normal())) for seed in range(seeds)]
        ratio = sooner(ours, theirs, "queries", "held_out/a", 1.0).ratio
        holds.append(ratio.low < 3.9 < ratio.high)
    assert LOW <= share(holds) <= HIGH


@pytest.mark.slow
def test_what_follows_a_peak_that_others_chose():
    """Six seeds around one curve with its peak in the middle: the fall from the others' peak to the end."""
    rng, curve, studies = np.random.default_rng(5), np.array([0.0, 0.6, 1.0, 0.7, 0.2]), []
    for _ in range(3000):
        table = curve + 0.15 * rng.standard_normal((6, 5)) + 0.1 * rng.standard_normal((6, 1))
        at = [others_peak(table, seed) for seed in range(6)]
        studies.append(mean_interval([table[seed, at[seed]] - table[seed, -1] for seed in range(6)]))
    truth = np.mean([study.value for study in studies])  # of the rule itself, which sometimes takes another step
    assert LOW <= share([study.low < truth < study.high for study in studies]) <= HIGH


@pytest.mark.slow
@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "heavy tails"])
def test_ratios_of_variances_of_gradients(heavy):
    """48 paired batches, variances 1 and 1.22; with tails as of policy gradients the interval grows with them."""
    rng, holds = np.random.default_rng(6), []
    for _ in range(1500):
        size = np.sqrt(rng.gamma(4, 1 / 4, (48, 1))) if heavy else 1.0
        shared = size * rng.standard_normal((48, 64))
        theirs = shared + math.sqrt(0.22) * size * rng.standard_normal((48, 64))
        ratio = variance_ratio(gradient_noise(shared), gradient_noise(theirs))
        holds.append(ratio.low < math.log(1.22) < ratio.high)
    assert LOW <= share(holds) <= HIGH


def test_ratios_of_variances_are_as_narrow_where_batches_agree():
    """Left out of its own term alone, a batch with a strong signal made intervals six times as wide as they need be."""
    rng = np.random.default_rng(7)
    noise, more = rng.standard_normal((2, 48, 64))
    widths = []
    for signal in (0.0, 10.0):
        ours = gradient_noise(signal + noise)
        widths.append(variance_ratio(ours, gradient_noise(signal + noise + more)).half_width)
    assert widths[1] < 1.3 * widths[0]


@pytest.mark.slow
@pytest.mark.parametrize(("signal", "most"), [(1.0, HIGH), (0.3, HIGH), (0.0, 1.0)])
def test_how_far_batches_agree(signal, most):
    """A mean over pairs of batches; the 66 to 83 % of Student's interval over batches is far from it."""
    rng, studies, naive = np.random.default_rng(7), [], []
    for _ in range(1500):
        gradients = rng.standard_normal((48, 64))
        gradients[:, 0] += 8 * signal
        noise = gradient_noise(gradients)
        studies.append(noise.agreement())
        naive.append(mean_interval(noise.cosine))
    truth = np.mean([study.value for study in studies])
    assert LOW <= share([study.low < truth < study.high for study in studies]) <= most
    assert share([study.low < truth < study.high for study in naive]) < 0.85

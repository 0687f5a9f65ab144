"""What the sweep over β says: a peak that was planted is found, alarms are counted, regret is against what was best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from helpers.invented_records import PROMPTS, record, result
from kedge_papers import TARGETS
from kedge_papers.records.run_record import RunRecord
from kedge_papers.targets.hacking_tables import AUTO, alarm_table, by_strength, fit_table, regret_table

TRUTH, REWARD = "oracle", "pickscore@emoji"
STEPS = list(range(0, 240, 15))


def sweep_run(
    title: str, seed: int, truth: float, beta: float, alarms: Sequence[float] = (), tilt: float = 0.0
) -> RunRecord:
    """A run that drifts as √step; its truth along the way is d (α − β ln d) with a peak at d = 3."""
    distances = np.sqrt(np.array(STEPS) / 10)
    alpha, fall = 0.3 * (1 + math.log(3)) + tilt, 0.3
    truths = distances * (alpha - fall * np.log(np.maximum(distances, 1e-9)))
    curve = {
        "step": STEPS,
        "queries": [8.0 * step for step in STEPS],
        "path_kl": (distances**2).tolist(),
        f"held_out/{TRUTH}": truths.tolist(),
        f"held_out/{REWARD}": distances.tolist(),
        "alarm": list(alarms) or [0.0] * len(STEPS),
    }
    scores = {TRUTH: np.full(len(PROMPTS), truth), REWARD: np.zeros(len(PROMPTS))}
    config = {"reward": REWARD, "algorithm": {"beta": beta, "beta_unit": 1.6}}
    return replace(record(f"beta-{title}--pickscore", seed, scores, title=title, curve=curve), config=config)


def test_a_planted_peak_is_found_with_an_interval_over_seeds():
    """Seeds peak at 3 and a little beside it; the trained reward rises for ever."""
    runs = [sweep_run("0", seed, 0.0, 0.0, tilt=tilt) for seed, tilt in enumerate((-0.02, 0.0, 0.02))]
    table = fit_table({REWARD: runs})
    cells = dict(table.rows)
    true, trained = cells["PickScore: Oracle (true preference)"], cells["PickScore: PickScore"]
    assert true[2].interval.value == pytest.approx(3, rel=1e-3)
    assert true[2].interval.low < 3 < true[2].interval.high
    assert trained[2] is None
    assert fit_table({REWARD: runs[:1]}) is None  # one seed has no interval over seeds
    assert fit_table({REWARD: [sweep_run("0.01", seed, 0.0, 0.01) for seed in range(2)]}) is None  # anchored


def test_alarms_are_counted_run_by_run_from_the_first_that_sounded():
    loud = [0.0] * 4 + [1.0] * (len(STEPS) - 4)
    runs = [sweep_run("0", 0, 0.0, 0.0, loud), sweep_run("0", 1, 0.0, 0.0)]
    ((_, (warned, of, first, change)),) = alarm_table({REWARD: runs}, TRUTH).rows
    assert (warned.interval.value, of.interval.value, first.interval.value) == (1, 2, STEPS[4])
    assert change.interval.value == pytest.approx(runs[0].curve[f"held_out/{TRUTH}"][-1])


def test_regret_is_what_the_best_strength_of_the_other_seeds_has_more():
    """Seeds agree that 0.01 is best: 0.6; without an anchor 0.3; the one that finds itself has 0.5, the base 0.4."""
    runs = []
    for seed in range(3):
        runs += [sweep_run("0.01", seed, 0.6, 0.01), sweep_run("0", seed, 0.3, 0.0)]
        runs.append(sweep_run(AUTO, seed, 0.5, 0.01))
    base = record("base-consistency", None, {TRUTH: np.full(len(PROMPTS), 0.4)})
    exhibit = TARGETS.get("hacking").show(result([base, *runs], "hacking"))
    (table,) = [each for each in exhibit.tables if each.title == "The β that finds itself"]
    ((_, (seeds, gain, regret, weakest)),) = table.rows
    assert seeds.interval.value == 3
    assert (gain.interval.value, regret.interval.value) == pytest.approx((0.1, 0.1))
    assert weakest.interval.value == pytest.approx(-0.2)
    assert regret_table({REWARD: runs[:3]}, None, TRUTH) is None
    assert list(by_strength(runs)) == ["0.01", "0", AUTO]

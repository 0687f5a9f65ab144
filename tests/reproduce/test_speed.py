"""How much sooner: at levels named beforehand, seed by seed, censored at the budget."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from helpers.invented_records import EMOJI, record, result, rising
from kedge.prompts import load_prompts
from kedge_papers import TARGETS
from kedge_papers.records.curves import points_over_seeds
from kedge_papers.records.speed import reaching, shown_ratio, sooner
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.targets.hacking import show as show_hacking
from kedge_papers.targets.methods import level_unit, show

CURVE = "held_out/pickscore@emoji"


def run(seed: int, queries, rises, family: str = "ours"):
    return record(family, seed, curve=rising(queries, rises), title=family)


def test_speed_at_a_plateau_hides_what_levels_show():
    """Ours is held by its anchor at +0.2, which theirs reaches at the same time; at +0.1 it was four times as soon."""
    ours = [run(s, [0, 100, 200, 800], [0, 0.1, 0.2, 0.2]) for s in range(3)]
    theirs = [run(s, [0, 400, 800], [0, 0.1, 0.2], "theirs") for s in range(3)]
    early, late = (sooner(ours, theirs, "queries", CURVE, level) for level in (0.1, 0.1999))
    assert early.ratio.value == pytest.approx(4.0, rel=1e-3)
    assert late.ratio.value == pytest.approx(4.0, rel=0.01)
    slow = [run(s, [0, 100, 780, 800], [0, 0.1, 0.19, 0.2]) for s in range(3)]
    assert sooner(slow, theirs, "queries", CURVE, 0.1999).ratio.value == pytest.approx(1.0, rel=0.01)


def test_a_level_that_was_passed_by_the_first_look_counts_as_reached_there():
    """How much earlier nothing says: a line drawn from the start would make a ratio of nothing."""
    steep, slow = run(0, [0, 128, 256], [0, 1, 1.1]), run(0, [0, 128, 256, 512], [0, 0.1, 0.3, 0.7], "theirs")
    assert reaching(steep, "queries", CURVE, 0.5).x == 128
    assert sooner([steep], [slow], "queries", CURVE, 0.5).ratio.value == pytest.approx((256 + 128) / 128)
    never = run(0, [0, 128], [0, 0.1])
    assert reaching(never, "queries", CURVE, 0.5, budget=64).x == 64


def test_a_run_that_lost_its_first_look_is_not_measured_from_its_second():
    """It had risen by then: of a log that begins late nobody knows how soon it got anywhere."""
    whole = run(0, [0, 100, 200, 300], [0, 0.4, 0.5, 1])
    late = replace(whole, curve={name: values[1:] for name, values in whole.curve.items()})
    assert reaching(whole, "queries", CURVE, 0.45).x == pytest.approx(150)
    assert reaching(late, "queries", CURVE, 0.45) is None
    assert sooner([whole], [late], "queries", CURVE, 0.45) is None


def test_ratios_are_taken_seed_by_seed_with_an_interval_over_seeds():
    ours = [run(0, [0, 100], [0, 1]), run(1, [0, 200], [0, 1])]
    theirs = [run(1, [0, 400], [0, 1], "theirs"), run(0, [0, 400], [0, 1], "theirs")]
    speed = sooner(ours, theirs, "queries", CURVE, 1.0)
    assert sorted(speed.log_ratios) == pytest.approx([math.log(2), math.log(4)])
    assert speed.ratio.value == pytest.approx(math.sqrt(8))
    assert speed.log_ratio.units == 2
    assert sooner(ours, [run(5, [0, 400], [0, 1])], "queries", CURVE, 1.0) is None  # no seed in common


def test_seconds_of_different_machines_are_not_compared():
    """A run on a GPU is no faster method; queries are counted, wherever it ran. One seed has both on one machine."""
    ours = [run(0, [0, 100], [0, 1]), run(1, [0, 100], [0, 1])]
    theirs = [run(0, [0, 200], [0, 1], "theirs"), run(1, [0, 400], [0, 1], "theirs")]
    ours[1] = replace(ours[1], machine={**ours[1].machine, "accelerators": ["NVIDIA H200"], "device": "cuda"})
    assert sooner(ours, theirs, "queries", CURVE, 1.0).log_ratios == pytest.approx((math.log(2), math.log(4)))
    assert sooner(ours, theirs, "seconds", CURVE, 1.0).log_ratios == pytest.approx((math.log(2),))
    assert sooner(ours[1:], theirs[1:], "seconds", CURVE, 1.0) is None


def test_a_run_that_never_gets_there_counts_with_its_budget_and_is_marked_as_a_bound():
    ours = [run(s, [0, 100, 800], [0, 1, 1]) for s in range(2)]
    theirs = [run(0, [0, 800], [0, 0.3], "theirs"), run(1, [0, 400, 800], [0, 1, 1], "theirs")]
    speed = sooner(ours, theirs, "queries", CURVE, 1.0)
    assert speed.theirs_censored == 1
    assert sorted(speed.log_ratios) == pytest.approx([math.log(4), math.log(8)])
    assert math.isinf(shown_ratio(speed).high)
    nobody = sooner(theirs[:1], [run(0, [0, 400], [0, 0.2], "x")], "seconds", CURVE, 1.0)
    assert nobody.log_ratios == (0.0,)  # whatever their budgets took
    assert shown_ratio(nobody) is None


def test_an_estimate_leaves_out_seeds_that_neither_arrived_in():
    """Their ratio of 1 is a tie, which a test needs, and no number: with it seven eights and a tie looked like 6.1."""
    ours = [run(s, [0, 100, 800], [0, 1, 1]) for s in range(7)] + [run(7, [0, 800], [0, 0.2])]
    theirs = [run(s, [0, 800], [0, 1], "theirs") for s in range(7)] + [run(7, [0, 800], [0, 0.2], "theirs")]
    speed = sooner(ours, theirs, "queries", CURVE, 1.0)
    assert speed.log_ratios[7] == 0
    assert speed.neither == (*[False] * 7, True)
    shown = shown_ratio(speed)
    assert (shown.value, shown.low, shown.high) == pytest.approx((8, 8, 8))


def test_bounds_from_both_sides_are_no_estimate():
    """Ours is late in one seed, theirs in another: neither end of an interval would be one."""
    late, soon = ([0, 800], [0, 0.2]), ([0, 100, 800], [0, 1, 1])
    ours = [run(s, *(late if s == 0 else soon)) for s in range(8)]
    theirs = [run(s, *(late if s == 1 else soon), "theirs") for s in range(8)]
    assert shown_ratio(sooner(ours, theirs, "queries", CURVE, 1.0)) is None
    assert math.isinf(shown_ratio(sooner(ours[1:], theirs[1:], "queries", CURVE, 1.0)).high)


def test_a_bound_of_one_seed_is_no_ratio():
    """It has no interval whose open end would say that it is a bound: it read 3.6 ×."""
    ours, late = [run(0, [0, 100, 800], [0, 1, 1])], [run(0, [0, 800], [0, 0.2], "theirs")]
    assert shown_ratio(sooner(ours, late, "queries", CURVE, 1.0)) is None
    assert shown_ratio(
        sooner(ours, [run(0, [0, 800], [0, 1], "theirs")], "queries", CURVE, 1.0)
    ).value == pytest.approx(8)


def test_steps_of_one_batch_have_asked_for_equally_many_queries():
    """PPO with minibatches takes several optimizer steps of each batch of pictures."""
    twice = run(0, [0, 100, 100, 200, 200], [0, 0.2, 0.4, 0.5, 0.7])
    assert reaching(twice, "queries", CURVE, 0.45).x == pytest.approx(150)
    assert reaching(twice, "queries", CURVE, 0.9).censored


def test_who_did_not_get_there_is_never_the_sooner_of_two():
    """Equal queries are unequal time: ours had spent 200 seconds in vain when theirs got there after 300."""
    ours, theirs = [run(0, [0, 100], [0, 0.3])], [run(0, [0, 150, 400], [0, 1, 1], "theirs")]
    for first, second in ((ours, theirs), (theirs, ours)):
        assert sooner(first, second, "seconds", CURVE, 1.0).log_ratios == (0.0,)
    late = [run(0, [0, 400], [0, 0.3])]
    assert sooner(late, theirs, "seconds", CURVE, 1.0).log_ratios == pytest.approx((math.log(150 / 400),))


def test_one_lucky_evaluation_does_not_reach_a_level():
    lucky = run(0, [0, 100, 200, 300, 400], [0, 1.2, 0.2, 0.3, 1.4])
    assert reaching(lucky, "queries", CURVE, 1.0).x > 300


def test_a_level_is_in_the_deviations_of_the_consistency_models_scores():
    scores = np.linspace(0, 3, 20)
    bases = [
        record("base-diffusion-methods", None, {"pickscore@emoji": 10 * scores}),
        record("base-consistency-methods", None, {"pickscore@emoji": scores}),
    ]
    recorded = result([*bases, run(0, [0, 100], [0, 1])], "methods")
    assert level_unit(recorded) == pytest.approx(scores.std(ddof=1))


def test_the_page_names_levels_and_who_did_not_get_there():
    scores = {"pickscore@emoji": np.linspace(0, 3, 20)}
    runs = [record("base-consistency-methods", None, scores, title="LCM")]
    for s in range(2):
        runs.append(record("methods-none", s, scores, curve=rising([0, 10, 100], [0, 0.1, 1.0]), title="ROCM"))
        runs.append(record("methods-rlcm", s, scores, curve=rising([0, 10, 100], [0, 0.03, 0.3]), title="RLCM"))
    table = show(result(runs, "methods")).tables[0]
    assert table.headers == ("queries, +0.25 sd", "time, +0.25 sd", "queries, +0.5 sd", "time, +0.5 sd")
    ((name, cells),) = table.rows
    assert name == "RLCM"
    assert cells[0].interval.value == pytest.approx(0.1 / 0.03, rel=0.01)
    assert cells[2].texts()[0].startswith("≥ ")
    assert "RLCM in 2 of 2 to +0.5" in table.note


def test_curves_of_seeds_are_averaged_point_by_point():
    where, values = points_over_seeds([run(0, [0, 10], [0, 1]), run(1, [0, 30, 50], [0, 3, 4])], "queries", CURVE)
    assert where.tolist() == [0, 20]
    assert values.tolist() == [[5, 6], [5, 8]]


def test_a_run_that_broke_off_did_not_get_there_sooner():
    """It diverged after 50 of 800 queries: it counted as if it had reached the level there."""
    ours = [run(0, [0, 100, 800], [0, 1, 1]), run(1, [0, 100, 800], [0, 1, 1])]
    theirs = [run(0, [0, 400, 800], [0, 1, 1], "theirs"), run(1, [0, 50], [0, 0.1], "theirs")]
    speed = sooner(ours, theirs, "queries", CURVE, 1.0)
    assert sorted(speed.log_ratios) == pytest.approx([math.log(4), math.log(8)])
    assert speed.theirs_censored == 1


def test_points_are_those_of_shared_steps():
    late = {**rising([0, 30, 50], [0, 3, 4]), "step": [0, 2, 3]}
    where, values = points_over_seeds([run(0, [0, 10, 20], [0, 1, 2]), record("x", 1, curve=late)], "queries", CURVE)
    assert where.tolist() == [0, 25]
    assert values.tolist() == [[5, 7], [5, 8]]
    assert points_over_seeds([], "queries", CURVE)[0].size == 0


def test_a_world_without_a_truth_shows_the_trained_reward():
    """The papers' world has no oracle; its page of over-optimisation could not be drawn."""
    swept = record("beta-0--pickscore", 0, curve=rising([0, 10, 20], [0, 1, 3], path_kl=[0, 4, 9]), title="0")
    recorded = result([swept], "hacking")
    nobody = replace(recorded, facts={**recorded.facts, "truth": None})
    exhibit = show_hacking(nobody)
    assert exhibit.tables == ()
    assert exhibit.figure.axes[0].lines[0].get_ydata().tolist() == [5, 6, 8]
    assert "trained reward" in exhibit.notes[0]


def test_levels_are_in_units_of_the_prompts_that_are_looked_at():
    """Prompts of two kinds whose base scores lie far apart differ more than either kind does."""
    near, far = np.linspace(-1, 1, 20), np.concatenate([np.linspace(-6, -4, 10), np.linspace(4, 6, 10)])
    whole = record("base-consistency-methods", None, {"pickscore@emoji": far})
    kind = record("base-consistency-methods", None, {"pickscore@emoji": near}, role="watched")
    both = replace(whole, evaluations={**whole.evaluations, **kind.evaluations})
    trained = run(0, [0, 100], [0, 1])
    assert level_unit(result([whole, trained])) == pytest.approx(far.std(ddof=1))
    assert level_unit(result([both, trained])) == pytest.approx(near.std(ddof=1))


def test_the_comparison_looks_at_the_prompts_that_its_levels_are_measured_on():
    matrix = TARGETS.get("methods").runs(MatrixOptions(EMOJI))
    (base,) = (run for run in matrix if run.name == "base-consistency-methods")
    assert base.measures["watched"].prompts == EMOJI.comparison.watched
    sources = set()
    for each in matrix:
        if each.train:
            sources.add((each.config().watch.held_out.source, each.config().watch.held_out.count))
    assert sources == {(EMOJI.comparison.watched, None)}
    assert set(load_prompts(EMOJI.comparison.watched)) < set(load_prompts(EMOJI.test))

"""How often the alarm of a run sounds by chance, over all its looks, and that it sounds when it should."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from kedge.evaluation.comparison import Comparison, compare
from kedge.evaluation.diversity import WITHIN
from kedge.evaluation.guard import JURY, judge_comparison
from kedge.evaluation.repeated_looks import Alarm
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Interval

PROMPTS = tuple(f"prompt {i}" for i in range(32))
BASE = np.random.default_rng(0).normal(size=(4, len(PROMPTS)))


def looks(rng: np.random.Generator, count: int, correlation: float, change: float = 0.0, trained: float = 1.0):
    """Evaluations of a run whose trained reward changes at once; its two held-out rewards change by ``change``.

    What a prompt's picture gains or loses correlates from one look to the next by ``correlation``.
    """
    noise = rng.normal(size=(2, len(PROMPTS)))
    base = Evaluation("base", PROMPTS, 0, dict(zip(("pickscore", "blipscore", "imagereward"), BASE, strict=False)))
    for _ in range(count):
        scores = {"pickscore": BASE[0] + trained + 0.1 * rng.normal(size=len(PROMPTS))}
        scores |= {"blipscore": BASE[1] + noise[0] + change, "imagereward": BASE[2] + noise[1] + change}
        yield compare(Evaluation("now", PROMPTS, 0, scores), base)
        noise = correlation * noise + math.sqrt(1 - correlation**2) * rng.normal(size=noise.shape)


def sounds(seed: int, count: int, correlation: float, change: float = 0.0) -> bool:
    alarm = Alarm(count)
    verdicts = [alarm.look(c, ["pickscore"]) for c in looks(np.random.default_rng(seed), count, correlation, change)]
    return any(verdicts)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_ten_looks_at_rewards_that_do_not_move_seldom_sound(correlation: float) -> None:
    runs = 300  # the standard error of 4 % is 1.1 %; with 1,000 runs and more correlations in the slow test below
    assert np.mean([sounds(seed, 10, correlation) for seed in range(runs)]) <= 0.07


def test_the_uncorrected_test_accuses_every_third_innocent_run() -> None:
    runs, accused = 100, 0
    for seed in range(runs):
        comparisons = looks(np.random.default_rng(seed), 10, 0.3)
        accused += any(judge_comparison(c, ["pickscore"]).level == "hacking" for c in comparisons)
    assert accused / runs > 0.2


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_it_sounds_when_held_out_rewards_fall(correlation: float) -> None:
    runs = 60
    assert np.mean([sounds(seed, 10, correlation, change=-0.8) for seed in range(runs)]) > 0.9


@pytest.mark.parametrize("trained", [0.0, -1.0])
def test_it_sounds_for_a_model_that_lost_and_won_nothing(trained: float) -> None:
    alarm = Alarm(10)
    verdicts = [alarm.look(c, ["pickscore"]) for c in looks(np.random.default_rng(0), 3, 0.0, -2.0, trained)]
    assert [verdict.level if verdict else "" for verdict in verdicts] == ["", "damaged", "damaged"]


def test_two_looks_in_a_row_have_to_agree() -> None:
    alarm, rng = Alarm(10), np.random.default_rng(0)
    (fallen,) = looks(rng, 1, 0.0, change=-2.0)
    (innocent,) = looks(rng, 1, 0.0, change=2.0)
    assert [bool(alarm.look(c, ["pickscore"])) for c in (fallen, innocent, fallen, fallen, fallen)] == [
        False, False, False, True, True,
    ]  # fmt: skip


def test_a_look_at_which_a_judge_is_missing_acquits_nobody() -> None:
    rng = np.random.default_rng(0)
    (fallen,) = looks(rng, 1, 0.0, change=-2.0)
    (nobody,) = looks(rng, 1, 0.0, change=2.0)
    alarm = Alarm(10)
    series = [(fallen, False), (nobody, True), (fallen, False), (nobody, True), (nobody, False), (fallen, False)]
    sounded = [bool(alarm.look(comparison, ["pickscore"], blind=blind)) for comparison, blind in series]
    assert sounded == [False, False, True, False, False, False]


def test_more_looks_ask_for_more() -> None:
    assert [Alarm(n).alpha for n in (1, 10, 40)] == pytest.approx([0.04, 0.04, 0.01])


@pytest.mark.slow
@pytest.mark.parametrize("count", [10, 30])
@pytest.mark.parametrize("correlation", [0.6, 0.8, 0.9])
def test_no_correlation_between_looks_defeats_it(count: int, correlation: float) -> None:
    runs = 1000
    assert (
        np.mean([sounds(seed, count, correlation) for seed in range(runs)]) <= 0.055
    )  # expected 4 %, standard error 0.45 %


def path_of(*changes: float, seed: int = 0, jitter: float = 0.05, missing: int | None = None):
    """Looks of one run whose judges stand at such heights, in standard deviations, with a little noise of their own."""
    rng = np.random.default_rng(seed)
    base = Evaluation("base", PROMPTS, 0, dict(zip(("pickscore", "blipscore", "imagereward"), BASE, strict=False)))
    own = 0.3 * rng.normal(size=(2, len(PROMPTS)))  # what each prompt makes of the training: the same at every look
    for i, change in enumerate(changes):
        scores = {
            "pickscore": BASE[0] + 1.0,
            "blipscore": BASE[1] + change + own[0],
            "imagereward": BASE[2] + change + own[1],
        }
        for name in ("blipscore", "imagereward"):
            scores[name] = scores[name] + jitter * rng.normal(size=len(PROMPTS))
        if i == missing:
            del scores["imagereward"]
        yield compare(Evaluation("now", PROMPTS, 0, scores), base)


def levels_along(*changes: float, blind: Sequence[int] = (), **options) -> tuple[list[str], Alarm]:
    alarm, levels = Alarm(10), []
    for i, comparison in enumerate(path_of(*changes, **options)):
        verdict = alarm.look(comparison, ["pickscore"], step=10 * (i + 1), blind=i in blind)
        levels.append(verdict.level if verdict else "")
    return levels, alarm


def test_a_run_that_lost_what_it_had_won_is_past_its_best() -> None:
    """It is no worse than the base yet; the sentence tells the step of its best look, and the log who fell."""
    levels, alarm = levels_along(0.3, 0.9, 0.8, 0.3, 0.25)
    assert levels == ["", "", "", "", "past"]
    assert "since step 20, their best look" in alarm.last.sentence
    assert alarm.last.lost == (JURY,)
    assert alarm.last.record.alarm == "warn"


def test_less_than_the_margin_is_no_fall_and_neither_is_a_climb() -> None:
    assert levels_along(0.3, 0.9, 0.75, 0.72, 0.7)[0] == [""] * 5
    assert levels_along(-0.1, 0.1, 0.3, 0.6, 0.9)[0] == [""] * 5


def test_worse_than_the_base_is_said_before_past_its_best() -> None:
    assert levels_along(0.9, 0.8, -2.0, -2.0)[0] == ["", "", "", "hacking"]


def test_the_best_look_survives_an_interruption() -> None:
    comparisons = list(path_of(0.9, 0.3, 0.25))
    first, second = Alarm(10), Alarm(10)
    for comparison in comparisons[:2]:
        first.look(comparison, ["pickscore"], step=10)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.look(comparisons[2], ["pickscore"], step=30).level == "past"
    second.load_state_dict({"suspected": True})  # a checkpoint of an earlier version
    assert (second.suspected, second.peak) == (True, None)


def test_a_look_without_a_judge_is_not_compared_with_one_that_had_it() -> None:
    levels, alarm = levels_along(0.9, 0.3, 0.3, 0.25, missing=1, blind=[1])
    assert levels == ["", "", "", "past"]
    assert alarm.peak.judges == ("blipscore", "imagereward")


def varied(comparison: Comparison, share: float) -> Comparison:
    """The same with pictures that vary so much less, within a prompt, beyond chance."""
    remaining = Interval(share, share - 0.05, share + 0.05, len(PROMPTS))
    difference = Interval(share - 1, share - 1.05, share - 0.95, len(PROMPTS))
    like = comparison.rewards[0]
    lost = replace(like, metric=WITHIN, difference=difference, remaining=remaining, p=1e-9)
    return replace(comparison, statistics=(lost,))


def test_a_look_whose_pictures_collapsed_is_never_the_best() -> None:
    looks, alarm, sounded = list(path_of(0.5, 1.3, 0.6, 0.65)), Alarm(10), []
    looks[1] = varied(looks[1], 0.3)
    for i, comparison in enumerate(looks):
        verdict = alarm.look(comparison, ["pickscore"], step=10 * (i + 1))
        sounded.append(verdict.level if verdict else "")
    assert sounded == [""] * 4
    assert alarm.peak.step in (30, 40)


def test_pictures_grown_alike_do_not_hide_that_judges_fell_since_the_best() -> None:
    looks, alarm = list(path_of(1.3, 0.5, 0.5)), Alarm(10)
    for i, comparison in enumerate([looks[0], varied(looks[1], 0.7), varied(looks[2], 0.7)]):
        verdict = alarm.look(comparison, ["pickscore"], step=10 * (i + 1))
    assert verdict.level == "alike"
    assert verdict.lost == (JURY, WITHIN)
    assert "since step 10, their best look" in verdict.sentence


def test_who_may_not_clear_has_no_best_look() -> None:
    """PickScore and HPSv2 share a backbone: what the one loses of the other's gain says nothing."""
    rng = np.random.default_rng(0)
    scores = {name: rng.normal(size=len(PROMPTS)) for name in ("hpsv2", "pickscore")}
    base, alarm = Evaluation("base", PROMPTS, 0, scores), Alarm(10)
    for height in (1.2, 0.5, 0.5):
        now = {"hpsv2": scores["hpsv2"] + 1, "pickscore": scores["pickscore"] + height}
        assert alarm.look(compare(Evaluation("now", PROMPTS, 0, now), base), ["hpsv2"]) is None
    assert alarm.peak is None


def test_the_order_of_metrics_does_not_matter() -> None:
    alarm, levels = Alarm(10), []
    for i, comparison in enumerate(path_of(0.9, 0.3, 0.25)):
        turned = replace(comparison, rewards=comparison.rewards[::-1]) if i else comparison
        verdict = alarm.look(turned, ["pickscore"], step=i)
        levels.append(verdict.level if verdict else "")
    assert levels == ["", "", "past"]

"""How often the alarm of a run sounds by chance, over all its looks, and that it sounds when it should."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kedge.evaluation.comparison import compare
from kedge.evaluation.guard import judge_comparison
from kedge.evaluation.repeated_looks import Alarm
from kedge.evaluation.result import Evaluation

PROMPTS = tuple(f"prompt {i}" for i in range(32))
BASE = np.random.default_rng(0).normal(size=(4, len(PROMPTS)))


def looks(rng: np.random.Generator, count: int, correlation: float, change: float = 0.0, trained: float = 1.0):
    """Evaluations of a run whose trained reward changes at once; its two held-out rewards change by ``change``.

    What a prompt's picture gains or loses correlates from one look to the next by ``correlation``.
    """
    noise = rng.normal(size=(2, len(PROMPTS)))
    base = Evaluation("base", PROMPTS, 0, dict(zip(("trained", "one", "other"), BASE, strict=False)))
    for _ in range(count):
        scores = {"trained": BASE[0] + trained + 0.1 * rng.normal(size=len(PROMPTS))}
        scores |= {"one": BASE[1] + noise[0] + change, "other": BASE[2] + noise[1] + change}
        yield compare(Evaluation("now", PROMPTS, 0, scores), base)
        noise = correlation * noise + math.sqrt(1 - correlation**2) * rng.normal(size=noise.shape)


def sounds(seed: int, count: int, correlation: float, change: float = 0.0) -> bool:
    alarm = Alarm(count)
    verdicts = [alarm.look(c, ["trained"]) for c in looks(np.random.default_rng(seed), count, correlation, change)]
    return any(verdicts)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_ten_looks_at_rewards_that_do_not_move_seldom_sound(correlation: float) -> None:
    runs = 300  # the standard error of 4 % is 1.1 %; with 1,000 runs and more correlations in the slow test below
    assert np.mean([sounds(seed, 10, correlation) for seed in range(runs)]) <= 0.07


def test_the_uncorrected_test_accuses_every_third_innocent_run() -> None:
    runs, accused = 100, 0
    for seed in range(runs):
        comparisons = looks(np.random.default_rng(seed), 10, 0.3)
        accused += any(judge_comparison(c, ["trained"]).level == "hacking" for c in comparisons)
    assert accused / runs > 0.2


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_it_sounds_when_held_out_rewards_fall(correlation: float) -> None:
    runs = 60
    assert np.mean([sounds(seed, 10, correlation, change=-0.8) for seed in range(runs)]) > 0.9


@pytest.mark.parametrize("trained", [0.0, -1.0])
def test_it_sounds_for_a_model_that_lost_and_won_nothing(trained: float) -> None:
    alarm = Alarm(10)
    verdicts = [alarm.look(c, ["trained"]) for c in looks(np.random.default_rng(0), 3, 0.0, -2.0, trained)]
    assert [verdict.level if verdict else "" for verdict in verdicts] == ["", "damaged", "damaged"]


def test_two_looks_in_a_row_have_to_agree() -> None:
    alarm, rng = Alarm(10), np.random.default_rng(0)
    (fallen,) = looks(rng, 1, 0.0, change=-2.0)
    (innocent,) = looks(rng, 1, 0.0, change=2.0)
    assert [bool(alarm.look(c, ["trained"])) for c in (fallen, innocent, fallen, fallen, fallen)] == [
        False, False, False, True, True,
    ]  # fmt: skip


def test_a_look_at_which_a_judge_is_missing_acquits_nobody() -> None:
    rng = np.random.default_rng(0)
    (fallen,) = looks(rng, 1, 0.0, change=-2.0)
    (nobody,) = looks(rng, 1, 0.0, change=2.0)
    alarm = Alarm(10)
    series = [(fallen, False), (nobody, True), (fallen, False), (nobody, True), (nobody, False), (fallen, False)]
    sounded = [bool(alarm.look(comparison, ["trained"], blind=blind)) for comparison, blind in series]
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

"""The statistics of a study against worked examples, a reference implementation, and worlds with a known truth."""

from __future__ import annotations

import itertools
import math

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from kedge.evaluation.bradley_terry import bradley_terry
from kedge.evaluation.statistics import crossed_rate, sign_test, wilson
from kedge.evaluation.statistics.rates import logit_interval
from kedge.evaluation.t_distribution import two_sided_quantile
from kedge.study.agreement import krippendorff_alpha
from kedge.study.analysis import analyse, to_dict
from kedge.study.questions import QUESTIONS
from kedge.study.records import Record
from kedge.study.report import warnings
from kedge.study.sides import sides_chosen

# Krippendorff 2011, section D: four observers, twelve units, values missing. Published: 0.743, 0.815, 0.849.
WORKED = [
    [1, 1, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4], [4, 4, 4, 4], [1, 1, 2, 1],
    [2, 2, 2, 2], [5, 5, 5], [1, 1], [3],
]  # fmt: skip


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_krippendorffs_own_example(level, published) -> None:
    assert krippendorff_alpha(WORKED, level) == pytest.approx(published, abs=5e-4)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, None]), min_size=4, max_size=4), min_size=3, max_size=12),
    st.sampled_from(["nominal", "ordinal", "interval"]),
)
def test_alpha_equals_the_reference_implementation(units, level) -> None:
    rated = [[value for value in unit if value is not None] for unit in units]
    ours = krippendorff_alpha(rated, level)
    pairable = {value for unit in rated if len(unit) > 1 for value in unit}
    if len(pairable) < 2:
        assert math.isnan(ours)
        return
    several = [unit for unit, values in zip(units, rated, strict=True) if len(values) > 1]
    data = np.array([[np.nan if v is None else v for v in unit] for unit in several]).T
    theirs = krippendorff.alpha(reliability_data=data, level_of_measurement=level, value_domain=sorted(pairable))
    assert ours == pytest.approx(theirs, abs=1e-12)


def record(rater: int, pair: int, outcome: float, *, swapped: bool = False, repeat: bool = False, **more) -> Record:
    side = "tie" if outcome == 0.5 else "left" if (outcome == 1) != swapped else "right"
    values = {
        "vote": 0, "rater": f"r{rater}", "position": pair, "pair": pair, "prompt": f"p{pair}", "seed": 1,
        "question": "preference", "first": "tuned", "second": "base", "choice": side, "swapped": swapped,
        "repeat": repeat, "seconds": 2.0, "at": 0.0, "files": ("a", "b"),
    }  # fmt: skip
    return Record(**{**values, **more})


ASKED = (QUESTIONS["preference"],)


def test_a_small_study_worked_by_hand() -> None:
    outcomes = {1: [1, 1, 0, 0.5], 2: [1, 0.5, 0, 1], 3: [1, 1, 1, 0]}  # rater → outcome of pairs 1 to 4
    records = [
        record(rater, pair, value, swapped=(rater + pair) % 2 == 0, seconds=rater)
        for rater, values in outcomes.items()
        for pair, value in enumerate(values, start=1)
    ]
    (contest,) = analyse(records, ASKED, ["tuned", "base"]).contests
    assert (contest.wins, contest.ties, contest.losses) == (7, 2, 3)
    assert contest.rate.value == pytest.approx((7 + 1) / 12)
    # sums over raters minus 3/2: +1.5, +1, −0.5, 0 → two prompts won, one lost, one undecided
    assert (contest.prompts_won, contest.prompts_lost) == (2, 1)
    assert contest.p == pytest.approx(binomtest(2, 3).pvalue)
    assert [share.value for share in contest.shares] == pytest.approx([7 / 12, 2 / 12, 3 / 12])
    analysis = analyse(records, ASKED, ["tuned", "base"])
    assert analysis.seconds == {"preference": (1.0, 2.0, 3.0)}
    third = analysis.raters[2]
    # r3: pair 1 with the majority, pair 2 with, pair 3 against, pair 4 against (others 0 and +½)
    assert third.agreement == pytest.approx(0.5)
    assert analysis.votes == 12
    assert to_dict(analysis)["contests"][0]["wins"] == 7


def test_agreement_does_not_depend_on_which_picture_is_called_the_first() -> None:
    """Three raters who nearly always take the same model: they agree, and no less where a pair is named otherwise."""
    answers = [(1, 1, 1), (1, 1, 1), (1, 1, 0), (1, 1, 1), (1, 1, 1)]
    votes = [record(rater, pair, x) for pair, row in enumerate(answers) for rater, x in enumerate(row, start=1)]
    (contest,) = analyse(votes, [QUESTIONS["preference"]], ["tuned", "base"], draws=100).contests
    turned = [*answers, *[tuple(1 - x for x in row) for row in answers]]
    assert contest.alpha == pytest.approx(krippendorff_alpha(turned))
    assert contest.alpha > 0.6
    assert krippendorff_alpha(answers) < 0.1  # what it would be one way round


def test_who_is_undecided_neither_agrees_nor_disagrees() -> None:
    """Rater 3 decides on pairs 0 and 1; the others lead on pair 0, and are split on pair 1."""
    votes = [record(1, 0, 1), record(2, 0, 1), record(3, 0, 1), record(1, 1, 1), record(2, 1, 0), record(3, 1, 0)]
    votes += [record(1, 2, 1), record(2, 2, 1), record(3, 2, 0)]
    raters = analyse(votes, [QUESTIONS["preference"]], ["tuned", "base"], draws=100).raters
    assert raters[2].agreement == 0.5  # pair 0 with the others, pair 2 against them


def test_repeats_are_checks_and_never_votes() -> None:
    records = [record(1, pair, 1.0) for pair in range(1, 5)]
    records += [
        record(1, 1, 0.0, repeat=True, swapped=True),
        record(1, 2, 1.0, repeat=True),
        record(1, 3, 0.5, repeat=True),
    ]
    analysis = analyse(records, ASKED, ["tuned", "base"])
    assert (analysis.votes, analysis.contests[0].wins) == (4, 4)
    assert (analysis.raters[0].repeats, analysis.raters[0].flipped) == (3, 1)


def test_position_bias_is_found_and_balance_keeps_it_out_of_the_result() -> None:
    lazy = [record(r, p, float(p % 2), swapped=p % 2 == 0) for r in range(1, 4) for p in range(1, 41)]
    analysis = analyse(lazy, ASKED, ["tuned", "base"])  # everybody always presses left
    assert analysis.left is not None
    assert analysis.left.value == 1.0
    assert analysis.left_p < 1e-20
    assert analysis.contests[0].rate.value == 0.5


def test_raters_without_a_bias_are_seldom_told_one_however_many_questions_they_answer_at_one_look() -> None:
    """Three questions, of which nine answers in ten are that of the first: votes one by one sound in 20 % or more."""
    rng, studies, questions, warned, by_votes = np.random.default_rng(0), 150, list(QUESTIONS.values())[:3], 0, 0
    for _ in range(studies):
        votes = []
        for rater, pair in itertools.product(range(1, 5), range(15)):
            first, swapped = float(rng.random() < 0.6), bool(rng.random() < 0.5)
            for question in questions:
                answer = first if rng.random() < 0.9 else float(rng.random() < 0.5)
                votes.append(record(rater, pair, answer, swapped=swapped, question=question.key))
        analysis = analyse(votes, questions, ["tuned", "base"])
        warned += any("Position bias" in warning for warning in warnings(analysis))
        assert analysis.left is not None
        assert analysis.left.units == 60
        left = sum(vote.choice == "left" for vote in votes)
        by_votes += sign_test(left, len(votes) - left) < 0.05
    assert warned / studies <= 0.08  # 5 % are meant; the error of the share is 2 %
    assert by_votes / studies >= 0.15


def test_questions_of_one_showing_decide_together() -> None:
    keys = [question.key for question in list(QUESTIONS.values())[:3]]
    showings = {(1, 1): (1, 1, 0), (1, 2): (0.5, 1, 0), (2, 1): (0.5, 0.5, 0), (2, 2): (1, 0.5, 0.5)}
    votes = []
    for (rater, pair), answers in showings.items():
        for key, answer in zip(keys, answers, strict=True):
            votes.append(record(rater, pair, answer, question=key))
    assert sides_chosen(votes) == (2, 1)  # one is undecided


def test_three_models_are_ranked_as_their_true_strengths() -> None:
    rng, truth = np.random.default_rng(0), {"a": 1.0, "b": 0.0, "c": -1.0}
    records = []
    for pair in range(600):
        first, second = [("a", "b"), ("b", "c"), ("a", "c")][pair % 3]
        p = 1 / (1 + math.exp(truth[second] - truth[first]))
        records.append(record(1, pair, float(rng.random() < p), first=first, second=second))
    ranking = analyse(records, ASKED, list(truth)).ranking["preference"]
    for model, strength in truth.items():
        assert ranking[model].low < strength < ranking[model].high
        assert ranking[model].half_width < 0.4


def test_the_crossed_interval_covers_where_counting_votes_does_not() -> None:
    """Raters and prompts both differ: an interval that takes every vote as independent is far too short."""
    rng, covered, naive, trials = np.random.default_rng(1), 0, 0, 120
    raters, prompts = 10, 30
    for _ in range(trials):
        lean = 0.6 + 0.15 * rng.standard_normal((raters, 1)) + 0.15 * rng.standard_normal((1, prompts))
        votes = (rng.random((raters, prompts)) < lean.clip(0, 1)).astype(float)
        who, what = np.indices(votes.shape).reshape(2, -1)
        interval = crossed_rate(votes.ravel(), [list(who), list(what)])
        covered += not interval.excludes(0.6)
        half = 1.96 * math.sqrt(interval.value * (1 - interval.value) / votes.size)
        naive += abs(interval.value - 0.6) <= half
    assert covered / trials > 0.9
    assert naive / trials < 0.8


def test_the_crossed_interval_equals_the_sum_over_pairs_of_votes() -> None:
    """Every pair of six votes that shares the rater or the prompt, one by one."""
    votes = np.array([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]])
    rate, apart = votes.mean(), (votes - votes.mean()).ravel()
    who, what = np.indices(votes.shape).reshape(2, -1)
    by_rater = by_prompt = 0.0
    for i, j in itertools.product(range(6), repeat=2):
        if who[i] == who[j]:
            by_rater += apart[i] * apart[j]
        elif what[i] == what[j]:
            by_prompt += apart[i] * apart[j]
    variances = 2 * by_rater / 36, 1.5 * by_prompt / 36
    assert min(variances) > 0
    for level in (0.5, 0.8, 0.95):
        interval = crossed_rate(votes.ravel(), [list(what), list(who)], level=level)
        t1, t2 = two_sided_quantile(level, 1), two_sided_quantile(level, 2)
        root = (variances[0] * math.sqrt(t1) + variances[1] * math.sqrt(t2)) / sum(variances)
        expected = logit_interval(rate, math.sqrt(sum(variances)), root**2)
        assert (interval.low, interval.high) == pytest.approx(expected), level


def test_a_single_vote_has_an_interval() -> None:
    analysis = analyse([record(1, 1, 1.0)], ASKED, ["tuned", "base"])
    assert 0 <= analysis.contests[0].crossed.low < 0.5


# Newcombe 1998, Statistics in Medicine 17, Table I: the score method without continuity correction.
@pytest.mark.parametrize(
    ("wins", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published_by_newcombe(wins, n, low, high) -> None:
    assert wilson(wins, n) == pytest.approx((low, high), abs=5e-5)


# Agresti, Categorical Data Analysis: the American League of 1987, wins of row over column; Baltimore is 0.
TEAMS = ("Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore")
WINS = [
    [0, 7, 9, 7, 7, 9, 11], [6, 0, 7, 5, 11, 9, 9], [4, 6, 0, 7, 7, 8, 12], [6, 8, 6, 0, 6, 7, 10],
    [6, 2, 6, 7, 0, 7, 12], [4, 4, 5, 6, 6, 0, 6], [2, 4, 1, 3, 1, 7, 0],
]  # fmt: skip
PUBLISHED = (1.5814, 1.4364, 1.2945, 1.2476, 1.1077, 0.6839, 0.0)


def test_bradley_terry_ranks_the_american_league_as_published() -> None:
    strengths = bradley_terry(np.array(WINS, dtype=float))
    assert strengths - strengths[-1] == pytest.approx(PUBLISHED, abs=5e-5)
    assert strengths.sum() == pytest.approx(0, abs=1e-9)


def test_no_votes_is_said() -> None:
    with pytest.raises(ValueError, match="no votes yet"):
        analyse([], ASKED, ["a", "b"])

"""Whether a model bears noise: what is said of scores that hold, fall, or do not tell; and the ratio of two means."""

from __future__ import annotations

import numpy as np
import pytest

from kedge.evaluation.bearing import Bearing, Draw
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import ratio_interval

PROMPTS = tuple(f"prompt {i}" for i in range(60) for _ in range(2))
RNG = np.random.default_rng(0)
ODE = RNG.normal(size=len(PROMPTS))


def evaluation(shift: float, spread: float = 0.2, prompts: int = 60) -> Evaluation:
    """Scores of two rewards, on average by so much beside those of the ODE, whose standard deviation is 1."""
    count = 2 * prompts
    noise = spread * np.random.default_rng(1).normal(size=(2, count)) if shift else np.zeros((2, count))
    scores = {name: ODE[:count] + shift + noise[i] for i, name in enumerate(("hpsv2", "pickscore"))}
    return Evaluation("drawn", PROMPTS[:count], 0, scores)


def bearing(*shifts: float, **options: float) -> Bearing:
    draws = [Draw(4, i / len(shifts), evaluation(shift, **options)) for i, shift in enumerate((0.0, *shifts))]
    return Bearing("renoise", tuple(draws))


def test_a_loss_below_the_margin_is_borne_and_a_larger_one_is_not():
    drawn = bearing(-0.05, -0.6)
    _, half, full = drawn.draws
    assert drawn.beside[half].finding == "holds"
    assert drawn.beside[full].finding == "loses"
    (sentence,) = drawn.advice()
    assert "renoise=0.5 holds (−0.0" in sentence
    assert "renoise=1 loses (−0." in sentence
    assert sentence.endswith("Train with renoise=0.5.")
    assert drawn.beside[full].change.value == pytest.approx(-0.6 / np.std(ODE, ddof=1), abs=0.05)


def test_where_nothing_is_borne_the_ways_out_are_named():
    (sentence,) = bearing(-0.7).advice()
    assert "renoise=0: ROCM alone, with algorithm.divergence=none or algorithm.last_step_std" in sentence


def test_few_prompts_tell_nothing():
    drawn = bearing(-0.2, spread=1.0, prompts=4)
    assert drawn.beside[drawn.draws[1]].finding == "unclear"
    assert "Draw more to tell: --count, --samples." in drawn.advice()[0]


def test_scores_that_do_not_vary_tell_nothing():
    flat = Evaluation("flat", PROMPTS, 0, {"hpsv2": np.zeros(len(PROMPTS))})
    drawn = Bearing("renoise", (Draw(4, 0.0, flat), Draw(4, 1.0, flat)))
    assert drawn.beside[drawn.draws[1]].change is None
    assert "renoise=1 is unclear. Draw more" in drawn.advice()[0]


def test_each_number_of_steps_has_its_own_ode_and_what_was_refused_is_told():
    draws = (
        *(Draw(2, 0.0, evaluation(0.0)), Draw(2, 1.0, evaluation(-0.6))),
        *(Draw(50, 0.0, evaluation(0.3)), Draw(50, 1.0, refused="σ is too low")),
    )
    drawn = Bearing("renoise", draws)
    assert list(drawn.beside) == [draws[1]]
    assert drawn.advice()[1] == "steps=50: nothing to compare. steps=50 renoise=1 is refused: σ is too low."
    records = drawn.to_dict()["draws"]
    assert [record.get("finding") for record in records] == [None, "loses", None, None]
    assert records[3]["refused"] == "σ is too low"
    assert [label for label, _ in drawn.table().rows] == [draw.label("renoise") for draw in draws[:3]]


def test_a_family_without_such_a_key_is_told_so():
    drawn = Bearing(None, (Draw(4, None, evaluation(0.0)), Draw(2, None, evaluation(0.1))))
    assert not drawn.beside
    assert drawn.advice()[0] == "steps=4: the noise between steps of this family is as it is."


def test_the_interval_of_a_ratio_covers():
    """Fieller's is exact for normal means, however uncertain the denominator: 95 % of those that exist, and more."""
    rng, covered, drawn = np.random.default_rng(0), 0, 2000
    for _ in range(drawn):
        theirs = 1 + 1.5 * rng.normal(size=20)
        ours = 0.6 * theirs + 0.5 * rng.normal(size=20)
        interval = ratio_interval(ours, theirs)
        covered += interval is None or interval.low <= 0.6 <= interval.high
    assert 0.94 <= covered / drawn <= 0.965


def test_a_ratio_to_what_may_be_zero_is_none():
    rng = np.random.default_rng(0)
    assert ratio_interval(rng.normal(size=20), rng.normal(size=20)) is None
    assert ratio_interval([1.0], [2.0]) is None
    exact = ratio_interval([9.0, 10.0, 11.0], [18.0, 20.0, 22.0])
    assert (exact.value, exact.low, exact.high) == pytest.approx((0.5, 0.5, 0.5))

"""The comparison's numbers, and the verdict on them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from kedge.evaluation.comparison import Change, compare
from kedge.evaluation.guard import Level, judge, judge_comparison
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Interval

PROMPTS = tuple(f"prompt {i // 2}" for i in range(60))


def evaluation(name: str, **shifts: float) -> Evaluation:
    rng = np.random.default_rng(len(name))
    base = np.random.default_rng(7).normal(0, 1, (3, len(PROMPTS)))
    scores = {
        metric: base[i] + rng.normal(0, 0.2, len(PROMPTS)) + shifts.get(metric, 0)
        for i, metric in enumerate(("pickscore", "aesthetic", "oracle"))
    }
    return Evaluation(name, PROMPTS, 0, scores, {"edge_density": np.abs(base[0]) * shifts.get("edges", 1.0)})


def change(metric: str, direction: float, effect: float = 0.5) -> Change:
    value = direction * effect
    difference = Interval(value, value - 0.1, value + 0.1, 100)
    return Change(metric, Interval(1 + value, 0, 2, 100), Interval(1.0, 0, 2, 100), difference, difference, spread=1.0)


def test_comparison_agrees_with_scipy() -> None:
    tuned, base = evaluation("tuned", pickscore=0.3), evaluation("base")
    comparison = compare(tuned, base)
    pick = comparison["pickscore"]
    pairs = (tuned.scores["pickscore"] - base.scores["pickscore"]).reshape(30, 2).mean(1)
    assert pick.difference.units == 30
    assert pick.difference.value == pytest.approx(pairs.mean())
    assert pick.p == pytest.approx(stats.ttest_1samp(pairs, 0).pvalue, rel=1e-6)
    assert pick.p_holm == pytest.approx(3 * pick.p, rel=1e-9)
    assert pick.effect == pytest.approx(pairs.mean() / base.scores["pickscore"].std(ddof=1))
    assert pick.rose
    assert not pick.fell
    assert pick.wins.value > 0.8
    assert json.loads(json.dumps(comparison.to_dict()))["rewards"][0]["metric"] == "pickscore"


def test_swapping_the_sides_mirrors_everything() -> None:
    a, b = evaluation("tuned", pickscore=0.3), evaluation("base")
    there, back = compare(a, b)["pickscore"], compare(b, a)["pickscore"]
    assert there.difference.value == -back.difference.value
    assert there.wins.value == pytest.approx(1 - back.wins.value)
    assert there.p == back.p


def test_only_like_is_compared_with_like() -> None:
    base = evaluation("base")
    other_seed = Evaluation("x", PROMPTS, 1, base.scores)
    with pytest.raises(ValueError, match=r"different seeds \(1 and 0\)"):
        compare(other_seed, base)
    with pytest.raises(ValueError, match="different prompts"):
        compare(Evaluation("x", ("a",), 0, {}), base)
    with pytest.raises(ValueError, match="no metric in common"):
        compare(Evaluation("x", PROMPTS, 0, {}), base)
    with pytest.raises(KeyError, match="pickscore"):
        compare(base, base)["hps"]


def test_a_model_compared_with_itself() -> None:
    comparison = compare(evaluation("base"), evaluation("base"))
    assert all(c.effect == 0 and c.p == 1 and c.wins.value == 0.5 for c in comparison.rewards)


# trained, held out, image statistics moved, truth → level. +1 rose, −1 fell, 0 did not clearly move.
CASES: list[tuple[int, list[int], bool, int | None, Level]] = [
    (+1, [+1, +1], False, None, "sound"),
    (+1, [+1, 0], False, None, "sound"),
    (+1, [+1, -1], False, None, "watch"),
    (+1, [-1, -1], False, None, "hacking"),
    (+1, [-1, 0], False, None, "hacking"),
    (+1, [0, 0], False, None, "unclear"),
    (+1, [+1, +1], True, None, "watch"),
    (+1, [], False, None, "unjudged"),
    (+1, [], True, None, "watch"),
    (+1, [+1, +1], False, -1, "hacking"),
    (+1, [+1, +1], True, +1, "sound"),
    (+1, [-1, -1], False, +1, "watch"),
    (+1, [], False, 0, "unclear"),
    (0, [-1], True, -1, "unchanged"),
    (-1, [+1], False, +1, "worse"),
]


@pytest.mark.parametrize(("trained", "held", "moved", "truth", "level"), CASES)
def test_verdicts(trained: int, held: list[int], moved: bool, truth: int | None, level: Level) -> None:
    verdict = judge(
        [change("pickscore", trained)],
        [change(f"other{i}", direction) for i, direction in enumerate(held)],
        [change("edge_density", -1, effect=1.5 if moved else 0.5)],
        None if truth is None else change("oracle", truth),
    )
    assert verdict.level == level
    assert verdict.alarming == (level in ("watch", "hacking", "worse"))
    assert verdict.sentence.endswith(".")


def test_reasons_are_readable() -> None:
    verdict = judge([change("pickscore", +1)], [change("hpsv2", -1)], [change("dark_fraction", +1, effect=2.0)])
    assert verdict.reasons == (
        "PickScore rose: 1 → 1.5 (+0.50 σ of the base)",
        "HPSv2 fell: 1 → 0.5 (−0.50 σ of the base)",
        "Pictures became darker: dark fraction rose: 1 → 3 (+2.00 σ of the base)",
    )


def test_a_collapse_counts_even_within_the_spread() -> None:
    halved = Change(
        "diversity_between",
        Interval(0.4, 0, 1, 9),
        Interval(1.0, 0, 2, 9),
        Interval(-0.6, -0.7, -0.5, 9),
        change("x", 0).wins,
        1.0,
    )
    assert judge([change("r", 1)], [change("h", 1)], [halved]).level == "watch"
    assert "more alike" in judge([change("r", 1)], [], [halved]).reasons[-1]


def test_moves_that_nobody_sees_and_more_variety_are_no_alarm() -> None:
    nothing = Interval(0.0, 0, 0, 9)
    unseen = Interval(0.003, 0.002, 0.004, 9)
    specks = Change("dark_fraction", ours=unseen, theirs=nothing, difference=unseen, wins=nothing, spread=0.0)
    verdict = judge([change("r", 1)], [change("h", 1)], [specks, change("diversity_between", 1, effect=5.0)])
    assert verdict.level == "sound"
    assert judge([specks], []).reasons == ("dark fraction rose: 0 → 0.003",)


def test_verdict_on_a_comparison_knows_the_oracle() -> None:
    base = evaluation("base")
    honest = compare(evaluation("tuned", pickscore=1, aesthetic=0.5, oracle=0.5), base)
    cheat = compare(evaluation("tuned", pickscore=1, aesthetic=0.5, oracle=-0.5, edges=0.2), base)
    assert judge_comparison(honest, ["pickscore"]).level == "sound"
    verdict = judge_comparison(cheat, ["pickscore"])
    assert verdict.level == "hacking"
    assert any("flatter" in reason for reason in verdict.reasons)
    assert verdict.to_dict()["level"] == "hacking"


def test_a_spread_of_zero_has_no_finite_effect() -> None:
    constant = Change("x", *(Interval(1, 1, 1, 3),) * 4, spread=0.0)
    assert math.isinf(constant.effect)
    assert constant.to_dict()["effect"] is None

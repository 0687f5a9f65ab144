"""The comparison's numbers, and the verdict on them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from kedge.evaluation.comparison import Change, compare
from kedge.evaluation.diversity import BETWEEN, WITHIN
from kedge.evaluation.guard import JURY, Verdict, _fallen, _Test, judge_comparison
from kedge.evaluation.judges import deciding, parts_of, standing
from kedge.evaluation.levels import LEVELS
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Interval
from kedge.rewards import REWARDS

PROMPTS = tuple(f"prompt {i // 2}" for i in range(60))


def evaluation(name: str, **shifts: float) -> Evaluation:
    rng = np.random.default_rng(len(name))
    base = np.random.default_rng(7).normal(0, 1, (3, len(PROMPTS)))
    scores = {
        metric: base[i] + rng.normal(0, 0.2, len(PROMPTS)) + shifts.get(metric, 0)
        for i, metric in enumerate(("pickscore", "aesthetic", "oracle"))
    }
    return Evaluation(name, PROMPTS, 0, scores, {"edge_density": np.abs(base[0]) * shifts.get("edges", 1.0)})


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


TRAINED = "pickscore@emoji"
NOISE = np.random.default_rng(0).normal(0, 1, (4, len(PROMPTS)))


def judged(
    seed: int = 1, *, trained: float, scores: dict[str, float], remaining: dict[str, float] | None = None
) -> Verdict:
    """The verdict on changes in σ of the base's scores, and on shares of its diversities that are kept."""
    rng, remaining = np.random.default_rng(seed), remaining or {}
    rewards = {TRAINED: trained, **scores}
    base_scores = {name: rng.normal(0, 1, len(PROMPTS)) for name in rewards}
    spread = {name: 0.4 + 0.1 * rng.random(len(PROMPTS)) for name in remaining}
    ours = {name: values + rewards[name] + rng.normal(0, 0.3, len(PROMPTS)) for name, values in base_scores.items()}
    varied = {name: remaining[name] * values * rng.normal(1, 0.05, len(PROMPTS)) for name, values in spread.items()}
    tuned, base = Evaluation("tuned", PROMPTS, 0, ours, varied), Evaluation("base", PROMPTS, 0, base_scores, spread)
    return judge_comparison(compare(tuned, base), [TRAINED])


JUDGE, BLIND, KIN = "imagereward@emoji", "hpsv2", "clipscore@emoji"
WHOLE, LOST = {WITHIN: 1.0, BETWEEN: 0.99}, {WITHIN: 0.6, BETWEEN: 0.95}
GONE = {WITHIN: 0.3, BETWEEN: 0.95}

CASES: list[tuple[float, dict[str, float], dict[str, float], str]] = [
    (1, {JUDGE: 0.5}, WHOLE, "better"),
    (1, {JUDGE: 0.0}, WHOLE, "better"),
    (1, {JUDGE: -0.5}, WHOLE, "hacking"),
    (1, {JUDGE: 0.5}, LOST, "alike"),
    (1, {JUDGE: -0.5}, LOST, "hacking"),
    (1, {JUDGE: 0.5}, {WITHIN: 0.9, BETWEEN: 0.97}, "better"),  # beyond chance, but not much
    (1, {BLIND: 0.5}, WHOLE, "unjudged"),
    (1, {BLIND: -0.5}, WHOLE, "hacking"),  # who cannot clear may accuse
    (1, {KIN: 0.5}, WHOLE, "unjudged"),
    (1, {KIN: 0.5}, LOST, "narrowed"),
    (1, {JUDGE: 0.5}, GONE, "collapsed"),  # whatever the judges say
    (1, {JUDGE: 0.5}, {WITHIN: 1.0, BETWEEN: 0.3}, "collapsed"),
    (1, {JUDGE: 0.5}, {WITHIN: 0.495, BETWEEN: 1.0}, "alike"),  # half, within its interval
    (1, {JUDGE: -0.5}, GONE, "hacking"),
    (0, {JUDGE: 0.0}, GONE, "damaged"),
    (0, {JUDGE: 0.0}, LOST, "damaged"),
    (-1, {JUDGE: -0.5}, WHOLE, "damaged"),
    (-1, {JUDGE: 0.5}, GONE, "damaged"),
    (1, {}, WHOLE, "unjudged"),
    (1, {"oracle": -2.0, JUDGE: 0.5}, WHOLE, "better"),  # the truth is reported, but no judge
    (0, {JUDGE: 0.0}, WHOLE, "unchanged"),
    (0, {JUDGE: -0.5}, WHOLE, "damaged"),
    (-1, {JUDGE: 0.5}, WHOLE, "worse"),
]


@pytest.mark.parametrize(("trained", "scores", "remaining", "level"), CASES)
def test_verdicts(trained: float, scores: dict[str, float], remaining: dict[str, float], level: str) -> None:
    verdict = judged(trained=trained, scores=scores, remaining=remaining)
    assert verdict.level == level
    assert verdict.sentence.startswith(f"{LEVELS[level].title}: PickScore (trained on) ")
    assert len(verdict.clauses) == 3


def test_judges_too_few_to_say_clear_nobody() -> None:
    base = {TRAINED: NOISE[0], JUDGE: NOISE[1]}
    ours = {TRAINED: NOISE[0] + 2, JUDGE: NOISE[1] + 3 * NOISE[2]}
    verdict = judge_comparison(
        compare(Evaluation("tuned", PROMPTS, 0, ours), Evaluation("base", PROMPTS, 0, base)), [TRAINED]
    )
    assert verdict.level == "unclear"
    assert "are undecided on this many prompts" in verdict.clauses[1]


def test_the_headline_says_three_things() -> None:
    verdict = judged(trained=1, scores={JUDGE: 0.5, BLIND: 1.0, KIN: 1.0, "oracle": 0.2}, remaining=LOST)
    trained, judges, variety = verdict.clauses
    assert trained.startswith("PickScore (trained on) rose (+")
    assert judges.startswith("judges that share nothing with it did not fall (+0.")
    assert judges.endswith("ImageReward")
    assert re.fullmatch(
        "the pictures vary less than the base's: \\d+ % within a prompt, \\d+ % between prompts", variety
    )
    assert any("no judge: does not see damage" in reason for reason in verdict.reasons)
    assert any("no judge: shares emoji CLIP" in reason for reason in verdict.reasons)
    assert any("the truth: reported, but no judge" in reason for reason in verdict.reasons)


def test_old_records_are_not_judged_by_their_diversity() -> None:
    def old(name: str, diversity: float) -> Evaluation:
        scores = {TRAINED: NOISE[0] + (name == "tuned"), JUDGE: NOISE[1]}
        return Evaluation(name, PROMPTS, 0, scores, {"diversity": diversity * np.abs(NOISE[2])})

    verdict = judge_comparison(compare(old("tuned", 0.1), old("base", 1.0)), [TRAINED])
    assert verdict.level == "better"
    assert verdict.clauses[2] == "how much the pictures vary was not measured"


SUM = "0.7*hpsv2 + 0.3*pickscore@emoji"


def test_a_sum_decides_as_a_whole_and_else_by_what_it_was_to_rise_towards() -> None:
    assert deciding([SUM], ["hpsv2", "pickscore@emoji", "oracle", SUM]) == [SUM]
    assert deciding([SUM], ["hpsv2", "pickscore@emoji", "oracle"]) == ["hpsv2", "pickscore@emoji"]
    penalty = "pickscore@emoji - 0.5*compressibility + floor(clipscore@emoji, base)"
    assert deciding([penalty], ["compressibility", "clipscore@emoji", "pickscore@emoji"]) == ["pickscore@emoji"]
    assert parts_of([penalty]) == {penalty, "compressibility", "clipscore@emoji", "pickscore@emoji"}
    assert deciding([""], ["oracle"]) == []


def verdict_of(trained: str, before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> Verdict:
    prompts = tuple(f"prompt {i}" for i in range(len(next(iter(before.values())))))
    ours, theirs = Evaluation("tuned", prompts, 0, after), Evaluation("base", prompts, 0, before)
    return judge_comparison(compare(ours, theirs), [trained])


def test_a_sum_that_fell_is_no_better_model_though_a_term_rose() -> None:
    """Nor does a penalty that rose make it better, and a term of the sum judges nobody."""
    terms = {"pickscore@emoji": 0.3, "aesthetic@emoji": -1.0}
    for reward, weight in (("pickscore@emoji + 2*aesthetic@emoji", 2), ("pickscore@emoji - 3*aesthetic@emoji", -3)):
        before = {name: NOISE[i] for i, name in enumerate(terms)} | {JUDGE: NOISE[2]}
        signs = terms if weight > 0 else {"pickscore@emoji": 0.0, "aesthetic@emoji": 1.0}
        after = {name: before[name] + change for name, change in signs.items()} | {JUDGE: NOISE[2] + 0.2}
        for scores in (before, after):
            scores[reward] = scores["pickscore@emoji"] + weight * scores["aesthetic@emoji"]
        verdict = verdict_of(reward, before, after)
        assert verdict.level == "worse", verdict
        assert verdict.judges == (JUDGE,)
        assert any("a part of what was trained on" in reason for reason in verdict.reasons)


def test_terms_of_a_sum_that_disagree_are_neither_better_nor_worse() -> None:
    """Of 0.9 and 0.1 of two rewards one rose and one fell, and the sum was not measured."""
    terms = "pickscore@emoji", "aesthetic@emoji"
    before = {terms[0]: NOISE[0], terms[1]: NOISE[1], JUDGE: NOISE[2]}
    after = {terms[0]: NOISE[0] + 2, terms[1]: NOISE[1] - 0.3, JUDGE: NOISE[2] + 0.4}
    assert verdict_of("0.9*pickscore@emoji + 0.1*aesthetic@emoji", before, after).level == "unclear"


@pytest.mark.parametrize("constant", [1.0, 0.1, 5.3])
def test_a_judge_that_gave_the_base_one_score_overrules_nobody_and_is_heard(constant: float) -> None:
    """0.1 is not constant for the computer: its standard deviation is 1e-17, in which any change is huge."""
    flat, rose = "blipscore@emoji", NOISE[0] + 1
    base = {TRAINED: NOISE[0], JUDGE: NOISE[1], flat: np.full(len(PROMPTS), constant)}
    higher = verdict_of(TRAINED, base, {TRAINED: rose, JUDGE: NOISE[1] - 1, flat: base[flat] + 0.5})
    assert higher.level == "hacking"  # as the other one says
    lower = verdict_of(TRAINED, base, {TRAINED: rose, JUDGE: NOISE[1], flat: base[flat] - 0.5})
    assert lower.level == "hacking"
    assert "BLIPScore fell, which gave all of the base's pictures one score" in lower.sentence
    rounding = verdict_of(TRAINED, base, {TRAINED: rose, JUDGE: NOISE[1] + 0.1, flat: base[flat] - 6e-8})
    assert rounding.level == "better"
    nearly = base[flat] - np.where(np.arange(len(PROMPTS)) % 2, 6e-8 * constant, 0)  # as float32 has it
    assert (
        verdict_of(TRAINED, {**base, flat: nearly}, {TRAINED: rose, JUDGE: NOISE[1] - 1, flat: nearly + 0.01}).level
        == "hacking"
    )
    alone = {TRAINED: NOISE[0], flat: base[flat]}
    same = verdict_of(TRAINED, alone, {TRAINED: rose, flat: base[flat]})
    assert same.level == "unclear"
    assert "give all of the base's pictures one score, and say nothing" in same.sentence


def test_a_diversity_that_few_prompts_leave_open_clears_nobody() -> None:
    prompts, rng = tuple(f"prompt {i}" for i in range(8)), np.random.default_rng(0)
    before = {TRAINED: rng.normal(0, 1, 8), JUDGE: rng.normal(0, 1, 8)}
    after = {TRAINED: before[TRAINED] + 1, JUDGE: before[JUDGE] + 0.3}
    base = Evaluation("base", prompts, 0, before, {WITHIN: np.full(8, 0.5)})
    varied = 0.5 * np.array([0.0, 0.1, 1.2, 1.5, 0.1, 1.3, 0.0, 0.7])
    tuned = Evaluation("tuned", prompts, 0, after, {WITHIN: varied})
    verdict = judge_comparison(compare(tuned, base), [TRAINED])
    assert verdict.level == "unclear"
    assert verdict.clauses[2].startswith("how much they vary is undecided on this many prompts: 61 % within a prompt")


def test_one_prompt_says_that_more_are_needed() -> None:
    base = Evaluation("base", ("a cat",) * 8, 0, {TRAINED: NOISE[0][:8], JUDGE: NOISE[1][:8]})
    tuned = Evaluation("tuned", base.prompts, 0, {TRAINED: NOISE[0][:8] + 6, JUDGE: NOISE[1][:8] - 5})
    verdict = judge_comparison(compare(tuned, base), [TRAINED])
    assert verdict.level == "unchanged"
    assert verdict.record.advice.startswith("Compare on more prompts")


@pytest.mark.parametrize(
    ("metric", "trained", "clears"),
    [
        ("imagereward", ["pickscore"], True),
        ("hpsv2", ["pickscore"], False),  # the same CLIP
        ("clipscore", ["pickscore"], True),
        ("clipscore@emoji", ["pickscore@emoji"], False),  # there, the same CLIP
        ("clipscore", ["0.5*pickscore + 0.5*aesthetic"], False),
        ("aesthetic", ["imagereward"], False),  # blind
        ("oracle", ["pickscore@emoji"], False),
        ("no such reward", ["pickscore"], False),
    ],
)
def test_who_may_judge_whom(metric: str, trained: list[str], clears: bool) -> None:
    assert standing(metric, trained).clears == clears
    assert bool(standing(metric, trained).why_not()) != clears


def test_a_reward_of_ones_own_says_what_it_is(tmp_path, monkeypatch) -> None:
    (tmp_path / "own_judge.py").write_text(
        "def warm(images, prompts): ...\nwarm.sees_damage = True\nwarm.made_from = ['my votes']\n"
        "def cold(images, prompts): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    assert standing("own_judge:warm", ["pickscore"]).clears
    assert standing("own_judge:cold", ["pickscore"]).why_not() == "no judge: may not see damage"


def test_every_reward_of_the_world_says_what_it_is_made_from() -> None:
    for spec in REWARDS.values():
        assert spec.truth or spec.made_from, spec.name
        assert not spec.in_world or spec.world_made_from, spec.name


def test_the_levels_are_told_apart_without_colour() -> None:
    assert len({(level.sign, level.title) for level in LEVELS.values()}) == len(LEVELS)
    assert all(level.rule and level.advice and level.sign for level in LEVELS.values())


def chances(runs: int, **options) -> dict[str, float]:
    counts = dict.fromkeys(LEVELS, 0)
    for seed in range(runs):
        counts[judged(seed, **options).level] += 1
    return {name: count / runs for name, count in counts.items()}


def test_a_model_that_lost_nothing_is_seldom_accused() -> None:
    shares = chances(400, trained=1, scores={JUDGE: 0.0}, remaining={WITHIN: 1.0, BETWEEN: 1.0})
    accused = shares["hacking"] + shares["alike"] + shares["collapsed"] + shares["worse"] + shares["damaged"]
    assert accused <= 0.05
    assert shares["better"] > 0.9


def test_the_alarms_inputs_are_tested_together() -> None:
    """A p of 0.02 is one in fifty by itself, and one of three looks at the same model."""
    size = Interval(-0.2, -0.4, 0.0, 20)
    calm = {name: _Test(size, 0.6, down=True) for name in (WITHIN, BETWEEN)}
    assert _fallen({JURY: _Test(size, 0.02, down=True)}, 0.05) == {JURY}
    assert _fallen({JURY: _Test(size, 0.02, down=True), **calm}, 0.05) == set()
    assert _fallen({JURY: _Test(size, 0.01, down=True), **calm}, 0.05) == {JURY}
    assert _fallen({JURY: _Test(size, 0.01, down=False), **calm}, 0.05) == set()


def test_a_collapse_is_noticed() -> None:
    shares = chances(100, trained=1, scores={JUDGE: 0.2}, remaining={WITHIN: 0.7, BETWEEN: 0.9})
    assert shares["alike"] > 0.9


def test_a_spread_of_zero_has_no_finite_effect() -> None:
    constant = Change("x", *(Interval(1, 1, 1, 3),) * 4, spread=0.0)
    assert math.isinf(constant.effect)
    assert constant.to_dict()["effect"] is None


def test_the_catalogue_says_what_was_measured() -> None:
    """docs/records/damage.json, written by bench/damage.py on the shipped weights."""
    record = json.loads((Path(__file__).parents[3] / "docs" / "records" / "damage.json").read_text())
    for metric, (value, _, high) in record["distances"][-1]["changes"].items():
        spec = REWARDS.get(metric.partition("@")[0])
        if spec is not None and not spec.truth:
            assert spec.sees_damage == (high < 0 and value <= -0.25), metric

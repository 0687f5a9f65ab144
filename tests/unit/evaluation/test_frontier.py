"""The frontier: the peak of a curve that is known, whom it listens to, and what it advises."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kedge.evaluation.diversity import BETWEEN, WITHIN
from kedge.evaluation.frontier import Frontier, Point, frontier
from kedge.evaluation.frontier_report import frontier_section, frontier_table
from kedge.evaluation.over_optimisation import _interval, fit_peak
from kedge.evaluation.result import Evaluation
from kedge.workflows.strengths import _worst

PROMPTS = tuple(f"prompt {i}" for i in range(30))
RNG = np.random.default_rng(0)
TRAINED, JUDGE, TRUTH = "pickscore@emoji", "imagereward@emoji", "oracle"
BASE = RNG.normal(size=len(PROMPTS))


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.5), (2.0, 1.5), (0.4, 0.3)])
def test_the_peak_of_a_known_curve_is_found(alpha, beta):
    d = np.linspace(0, 6, 13)
    peak = fit_peak(d, curve(d, alpha, beta)[:, None] + 0.02 * RNG.normal(size=(13, 40)))
    assert peak is not None
    assert peak.distance == pytest.approx(math.exp(alpha / beta - 1), rel=0.05)
    assert peak.curve(np.array([2.0]))[0] == pytest.approx(2 * (alpha - beta * math.log(2)), abs=0.02)


@pytest.mark.parametrize("units", [3, 6, 12, 40])
def test_the_interval_of_a_peak_holds_the_truth(units):
    """Prompts, or as few as three seeds, that differ in both coefficients; a bootstrap holds 72 to 93 %."""
    d, rng, held, studies = np.linspace(0, 6, 9)[1:], np.random.default_rng(0), 0, 1500
    solve = np.linalg.pinv(np.stack([d, -d * np.log(d)], axis=1))
    for _ in range(studies):
        table = curve(d, 1.0, 0.5)[:, None] + 0.2 * rng.normal(size=(8, units))
        table += d[:, None] * 0.2 * (rng.normal(size=units) - 0.5 * np.log(d)[:, None] * rng.normal(size=units))
        low, high = _interval(solve @ table)
        held += low <= math.e <= high
    assert 0.935 <= held / studies <= 0.975


def test_the_interval_of_a_peak_is_an_interval_that_holds_its_estimate():
    """However few the seeds and however little they say; with three of them the cone often turns past both axes."""
    rng, open_above = np.random.default_rng(0), 0
    for _ in range(3000):
        coefficients = rng.normal(size=(2, 1)) + rng.normal(size=(2, 3)) * rng.exponential()
        low, high = _interval(coefficients)
        alpha, beta = coefficients.mean(1)
        assert low <= high
        assert low * (1 - 1e-9) <= (math.exp(min(alpha / beta - 1, 700.0)) if beta > 0 else math.inf)
        open_above += high == math.inf
        if beta > 0:
            assert math.exp(min(alpha / beta - 1, 700.0)) <= high * (1 + 1e-9)
    assert 1000 < open_above < 3000


def test_the_best_of_many_looks_has_an_interval_that_knows_it():
    """Eight looks that correlate, none of them truly better than another; the plain interval holds 88 %."""
    rng, held, plain, studies = np.random.default_rng(0), 0, 0, 0
    while studies < 600:
        looks = rng.normal(size=(8, 64))
        for i in range(1, 8):
            looks[i] = 0.8 * looks[i - 1] + 0.6 * looks[i]
        best = max(looks, key=np.mean)
        if best.mean() <= 0:
            continue
        point = Point(0, 0.0, {}, best)
        studies += 1
        held += point.best_of(8).low < 0 < point.best_of(8).high
        plain += point.height.low < 0 < point.height.high
    assert plain / studies < 0.91
    assert 0.95 <= held / studies <= 0.995


def test_a_peaks_interval_is_open_where_nothing_is_known():
    """To the far side where β may be 0; to the near side where α may be anything; nowhere closed for a single unit."""
    d = np.linspace(0, 6, 9)
    once = fit_peak(d, curve(d, 1.0, 0.5)[:, None])
    assert (once.low, once.high) == (0.0, 6.0)
    rises = curve(d, 1.0, 0.1)[:, None] + d[:, None] * np.log(np.maximum(d, 1e-9))[:, None] * [[0.2, -0.2, 0.0, 0.1]]
    open_above = fit_peak(d, rises)
    assert open_above.high == open_above.farthest
    exact = fit_peak(d, np.repeat(curve(d, 1.0, 0.5)[:, None], 5, axis=1))  # all alike: a point
    assert (exact.low, exact.high) == (pytest.approx(math.e), pytest.approx(math.e))
    falls = fit_peak(d, -curve(d, 1.0, 0.5)[:, None] * [[1.0, 1.1, 0.9]])  # falls at first, then rises
    assert (falls.low, falls.high, falls.seen) == (0.0, 6.0, False)
    unknown = fit_peak(d, curve(d, 1.0, 0.5)[:, None] * [[1.0, -1.0, 0.5, -0.5]])
    assert (unknown.low, unknown.high) == (0.0, 6.0)


def curve(d, alpha: float, beta: float):
    return np.where(d > 0, d * (alpha - beta * np.log(np.maximum(d, 1e-9))), 0)


def test_a_reward_that_only_rises_has_no_peak():
    d = np.linspace(0, 4, 9)
    peak = fit_peak(d, (d**1.5)[:, None] + 0.01 * RNG.normal(size=(9, 20)))
    assert peak is not None
    assert not peak.seen
    assert peak.peaked == 0
    assert peak.low == peak.high == peak.farthest == 4.0


def test_too_few_looks_have_no_curve():
    assert fit_peak(np.array([0.0, 1.0, 2.0]), np.zeros((3, 5))) is None


def look(kl: float, **shifts: float) -> Evaluation:
    """Scores that moved by so many base deviations."""
    scores = {}
    for metric in (TRAINED, JUDGE, TRUTH):
        scores[metric] = BASE + shifts.get(metric.split("@")[0], 0.0) * BASE.std(ddof=1)
    distances = {"path_kl": np.full(len(PROMPTS), kl)}
    return Evaluation("x", PROMPTS, 0, scores, distances=distances, facts={"samples_per_prompt": 1})


def hacked() -> Frontier:
    looks = {
        0: look(0.0),
        10: look(1.0, pickscore=0.5, imagereward=0.3, oracle=0.1),
        20: look(4.0, pickscore=1.0, imagereward=0.2, oracle=0.9),
        30: look(9.0, pickscore=1.5, imagereward=-0.4, oracle=0.8),
    }
    strengths = {0.0: look(0.0), 0.5: look(2.0, pickscore=0.7, imagereward=0.25), 1.0: looks[30]}
    return frontier(TRAINED, looks, strengths, {4: 0.5, 3: 0.3, 2: 0.2})


def varying(now: Evaluation, within: float, encoder: str = "emoji") -> Evaluation:
    """The look with that much diversity within a prompt."""
    statistics = {WITHIN: np.full(len(PROMPTS), within), BETWEEN: np.full(len(PROMPTS), 0.6)}
    return replace(now, statistics=statistics, facts={**now.facts, "encoder": encoder})


def test_a_strength_whose_pictures_grew_alike_is_told_and_not_advised(tmp_path: Path):
    """Judges like strength 1 best, where half of the diversity within a prompt is left."""
    base, last = varying(look(0.0), 0.4), varying(look(4.0, pickscore=1.0, imagereward=0.5), 0.2)
    half = varying(look(1.0, pickscore=0.5, imagereward=0.3), 0.39)
    result = frontier(TRAINED, {0: base, 10: half, 20: last}, {0.0: base, 0.5: half, 1.0: last})
    assert result.best_strength.label == 0.5
    rows, table = dict(frontier_table(result).rows), frontier_table(result)
    assert table.headers[-2:] == ("% within", "% between")
    assert [cell.interval.value for cell in rows["strength 1"][-2:]] == pytest.approx([0.5, 1.0])
    assert rows["strength 1"][-2].texts()[0] == "50"
    other = frontier(TRAINED, {0: base, 10: half}, {1.0: varying(last, 0.2, encoder="another")})
    assert dict(frontier_table(other).rows)["strength 1"][-1] is None  # two encoders' numbers are not compared
    (tmp_path / "frontier").mkdir()
    (tmp_path / "frontier" / "frontier.json").write_text(json.dumps(result.to_dict()))
    page = "\n".join(frontier_section(tmp_path)[1])
    assert "The adapter at several strengths" in page
    assert "% within" in page
    assert page.count("<td>strength ") == 3


def test_no_strength_is_advised_where_the_base_is_liked_best():
    looks = {0: look(0.0), 10: look(1.0, pickscore=0.5, imagereward=0.3), 20: look(4.0, imagereward=-0.4)}
    advice = frontier(TRAINED, looks, {0.0: look(0.0), 1.0: looks[20]}).advice()
    assert advice.startswith("Stop at step 10, because")
    assert "no strength better than the base" in advice


def test_a_strength_of_the_last_step_is_no_strength_of_another():
    """Strengths are drawn at the end: they combine with stopping there, and are another way out of it elsewhere."""
    rising = {0: look(0.0), 10: look(1.0, imagereward=0.3), 20: look(4.0, imagereward=0.4)}
    drawn = {0.0: look(0.0), 0.5: look(1.0, imagereward=0.5), 1.0: rising[20]}
    assert frontier(TRAINED, rising, drawn).advice().startswith("Stop at step 20, use strength 0.5, because")
    falling = {**rising, 20: look(4.0, imagereward=0.1)}
    advice = frontier(TRAINED, falling, {0.0: look(0.0), 0.5: look(1.0), 1.0: falling[20]}).advice()
    assert advice.startswith("Stop at step 10, because")


def test_what_chance_explains_as_well_is_said_so():
    """The judge likes half of the prompts as much better as it likes the other half worse, and a little more."""
    doubtful, clear = look(1.0, pickscore=0.5), look(1.0, pickscore=0.5, imagereward=0.3)
    doubtful.scores[JUDGE][::2] += 1.0
    doubtful.scores[JUDGE][1::2] -= 0.9
    assert "which chance explains as well" in frontier(TRAINED, {0: look(0.0), 10: doubtful}).advice()
    assert "chance" not in frontier(TRAINED, {0: look(0.0), 10: clear}).advice()


def test_a_peak_nearer_than_the_first_look_is_not_told(tmp_path: Path):
    """The curve rises at first whatever it is fitted to: what lies before the first look was not seen."""
    data = hacked().to_dict()
    peak = {**data["peaks"][JUDGE], "distance": 0.2, "low": 0.1, "high": 0.3}
    (tmp_path / "frontier").mkdir()
    (tmp_path / "frontier" / "frontier.json").write_text(json.dumps({**data, "peaks": {JUDGE: peak}}))
    page = "\n".join(frontier_section(tmp_path)[1])
    assert "<td>ImageReward</td><td>–</td>" in page


def test_judges_advise_and_the_truth_does_not():
    result = hacked()
    assert result.judges == (JUDGE,)
    assert result.best_step.label == 10  # the oracle would have said 20
    assert result.best_strength.label == 0.5
    assert result.advice().startswith(
        "Stop at step 10, or use step 30 at strength 0.5, because there the judges (imagereward@emoji) say"
    )
    assert "at the last step (30) −0.400 σ" in result.advice()
    assert "(my-judge)" in replace(result, judges=("my-judge",)).advice()  # a hyphen is no minus


def test_the_strengths_are_of_the_step_that_was_drawn():
    """A run whose judges chose step 10: its adapter is that step's."""
    result = replace(hacked(), drawn=10)
    assert result.advice().startswith("Stop at step 10, use strength 0.5, because")
    assert "of the strengths drawn of step 10 they like 0.5 best" in result.advice()


def test_a_milder_strength_is_told_where_no_step_is_better_than_the_base():
    bad = look(4.0, pickscore=1.0, imagereward=-0.4)
    strengths = {0.0: look(0.0), 0.25: look(1.0, pickscore=0.3, imagereward=0.3), 1.0: bad}
    advice = frontier(TRAINED, {0: look(0.0), 20: bad}, strengths).advice()
    assert advice.startswith("Do not use it")
    assert "at strength 0.25 of step 20 they say +0.300 σ" in advice


def test_a_look_without_its_judge_is_left_out_and_one_score_is_no_unit():
    looks = {0: look(0.0), 10: look(1.0, pickscore=1.0, imagereward=0.2), 20: look(2.0, pickscore=2.0)}
    looks[20] = replace(looks[20], scores={TRAINED: looks[20].scores[TRAINED]})
    assert [point.label for point in frontier(TRAINED, looks).steps] == [0, 10]
    with pytest.raises(ValueError, match=f"at no look after the base were all of {JUDGE} measured"):
        frontier(TRAINED, {0: looks[0], 20: looks[20]})
    flat = replace(look(0.0), scores={**look(0.0).scores, TRAINED: np.full(len(PROMPTS), 0.1)})
    with pytest.raises(ValueError, match="gave all pictures of the base one score"):
        frontier(TRAINED, {0: flat, 10: looks[10]})


def test_a_peak_before_the_first_look_was_seen_by_nobody():
    distances, units = np.array([0.0, 10.0, 18.0, 25.0]), np.random.default_rng(0).normal(0, 0.01, 20)
    early = distances * (0.3 - 0.2 * np.log(np.maximum(distances, 1e-9)))  # peaks at exp(0.5) = 1.6
    peak = fit_peak(distances, early[:, None] + units)
    assert peak.distance < peak.nearest == 10
    assert not peak.seen
    assert peak.peaked == 0


def test_changes_are_in_deviations_of_the_base_and_distances_are_roots():
    point = hacked().steps[2]
    assert point.distance == 2.0
    assert point.rise(TRAINED).value == pytest.approx(1.0)


def test_shares_of_prompts_are_told_one_by_one():
    """The trained reward rises on all prompts; the judge on the first ten only."""
    last = look(4.0, pickscore=1.0)
    last.scores[JUDGE][:10] += 1.0
    last.scores[JUDGE][10:] -= 1.0
    joint = frontier(TRAINED, {0: look(0.0), 10: last}).joint()
    assert joint.all_rise[0] == pytest.approx(1 / 3)
    assert joint.hacked[0] == pytest.approx(2 / 3)
    assert joint.hacked[1] < 2 / 3 < joint.hacked[2]


def test_a_reward_that_only_hurts_is_not_to_be_used():
    looks = {
        0: look(0.0),
        10: look(1.0, pickscore=1.0, imagereward=-0.1),
        20: look(2.0, pickscore=2.0, imagereward=-0.5),
    }
    assert (
        frontier(TRAINED, looks).advice().startswith("Do not use it, because the judges (imagereward@emoji) liked no")
    )


@pytest.mark.parametrize(
    ("looks", "words"),
    [({10: look(1.0)}, "step 0"), ({0: look(0.0)}, "step 0")],
)
def test_what_has_no_frontier_is_refused(looks, words):
    with pytest.raises(ValueError, match=words):
        frontier(TRAINED, looks)


def test_table_and_report_tell_the_same(tmp_path: Path):
    result = hacked()
    table = frontier_table(result)
    assert [row[0] for row in table.rows] == [
        *(f"step {n}" for n in (0, 10, 20, 30)),
        "strength 0",
        "strength 0.5",
        "strength 1",
    ]
    folder = tmp_path / "frontier"
    folder.mkdir()
    assert frontier_section(tmp_path) == (None, [])
    (folder / "frontier.json").write_text(json.dumps(result.to_dict()))
    Image.new("RGB", (4, 4)).save(folder / "worst.png")
    page = "\n".join(frontier_section(tmp_path)[1])
    assert "Stop at step 10" in page
    assert page.count("<svg") == 3
    assert "step 4: 50 %, step 3: 30 %, step 2: 20 %" in page
    assert "data:image/png" in page
    assert "on 0 % (0–11) of the prompts; the trained one rose while the others fell on 100 % (89–100)" in page


def test_only_what_the_judges_marked_down_is_shown(tmp_path: Path):
    """Three pictures fell, the others rose; where none fell there is nothing to show."""
    base, now = look(0.0), look(1.0, imagereward=0.5)
    images = RNG.integers(0, 255, (len(PROMPTS), 8, 8, 3)).astype(np.uint8)
    base, now = replace(base, images=images), replace(now, images=images)
    metrics = [TRAINED, JUDGE]
    assert _worst({0.0: base, 1.0: now}, metrics, tmp_path / "none") is None
    now.scores[JUDGE][:3] -= 5.0
    one, all_twenty = _worst({0.0: base, 1.0: now}, metrics, tmp_path / "three"), look(1.0, imagereward=-1.0)
    twenty = _worst({0.0: base, 1.0: replace(all_twenty, images=images)}, metrics, tmp_path / "twenty")
    assert one is not None
    assert twenty is not None
    assert Image.open(one).height < Image.open(twenty).height / 4

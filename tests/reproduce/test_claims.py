"""Claims: files that were there first, one rule for all, and verdicts that could have come out otherwise."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from docs.result_pages import BEFORE_CLAIMS, RESULTS, stores, together

from helpers.invented_records import PROMPTS, record, result, rising
from kedge.config import ConfigError
from kedge.evaluation.statistics import Interval, mean_interval
from kedge.study.questions import PAPER, parse_questions
from kedge_papers import TARGETS
from kedge_papers.claims.claim import AGAIN, FIRST, Claim, Contrast, claim_files, load_claim, load_claims
from kedge_papers.claims.claims_page import claims_table, decided, judged, summary
from kedge_papers.claims.contrasts import KINDS, measure, seeds_in
from kedge_papers.claims.measured import Measured, p_of
from kedge_papers.claims.verdict import DEPENDS, FAILS, HOLDS, MISSING, OPEN, judge, judge_all
from kedge_papers.records.gradient_noise import gradient_noise
from kedge_papers.records.result import Result

ROOT = Path(__file__).parents[2]
METRICS = ("pickscore", "aesthetic", "hpsv2", "clipscore", "blipscore", "imagereward")
RNG = np.random.default_rng(0)


def test_there_are_twelve_and_the_second_study_asks_some_of_them_again():
    first = {claim.number: claim for claim in load_claims()}
    assert list(first) == list(range(1, 13))
    for claim in load_claims(AGAIN):
        assert (claim.claim, claim.source) == (first[claim.number].claim, first[claim.number].source)


@pytest.mark.parametrize("study", [FIRST, AGAIN])
def test_every_claim_can_be_answered(study):
    claims = load_claims(study)
    for claim in claims:
        assert claim.experiment in TARGETS
        assert claim.question.endswith(("?", "."))
        names = [contrast.name for contrast in (*claim.contrasts, *claim.reported)]
        assert len(set(names)) == len(names)
        assert all(contrast.kind in KINDS for contrast in (*claim.contrasts, *claim.reported))
        assert sum(claim.looks.values()) in (0, pytest.approx(0.05))
        for contrast in claim.contrasts:
            if contrast.kind == "preference":
                assert contrast.options["question"] in {question.key for question in parse_questions(PAPER)}
    assert sum(bool(claim.depends) for claim in claims) <= 3


def git(root: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, env={**os.environ, **environment}
    )
    if done.returncode:
        pytest.skip("no history: not a checkout")
    return done.stdout.strip()


def changed_too_late(root: Path, claims: Sequence[Path], targets: Mapping[str, Path]) -> list[str]:
    """Claims that were not committed, or were touched, after the first record of the target that answers them.

    Args:
        claims: their files.
        targets: what is recorded → the file that lists it.
    """
    late = []
    for path in claims:
        changed, experiment = git(root, "log", "-1", "--format=%ct", "--", str(path)), load_claim(path).experiment
        for target, index in targets.items():
            if experiment in (target, target.rstrip("abcd")):
                first = git(root, "log", "--format=%ct", f'-S"{target}": {{', "--", str(index)).splitlines()
                if first and (not changed or int(changed) > int(first[-1])):
                    late.append(f"{path.name} was changed after {target} was recorded")
    return late


def test_a_claim_is_committed_before_its_first_record():
    """And not touched afterwards. World 1's records are older than all claims and decide nothing."""
    if git(ROOT, "rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("a shallow checkout has no history")
    for study in (FIRST, AGAIN):
        targets = {}
        for store in stores(RESULTS / study):
            if store.world not in BEFORE_CLAIMS:
                targets |= dict.fromkeys(store.results(), store.folder / "targets.json")
        assert changed_too_late(ROOT, claim_files(study), targets) == []


def test_a_claim_that_was_changed_after_its_record_is_noticed(tmp_path):
    claim, index = tmp_path / "06-before.yaml", tmp_path / "targets.json"

    def commit(path: Path, text: str, when: int) -> None:
        path.write_text(text)
        git(tmp_path, "add", path.name)
        user = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        git(tmp_path, *user, "commit", "-qm", "x", GIT_COMMITTER_DATE=f"{when} +0000")

    git(tmp_path, "init", "-q")
    text = (ROOT / "src/kedge_papers/claims/06-before.yaml").read_text()
    commit(claim, text, 1_000_000_000)
    commit(index, '{"table4": {}}', 1_000_000_100)
    assert changed_too_late(tmp_path, [claim], {"table4": index, "fig4": index}) == []
    commit(claim, f"{text}# and one condition more", 1_000_000_200)
    assert changed_too_late(tmp_path, [claim], {"table4": index}) == [
        "06-before.yaml was changed after table4 was recorded"
    ]


def test_more_than_three_claims_that_depend_are_refused(monkeypatch):
    monkeypatch.setattr("kedge_papers.claims.claim.MOST_DEPEND", 1)
    with pytest.raises(ConfigError, match="a way not to answer"):
        load_claims()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("looks: {4: 0.05, 8: 0.05}", "its looks must spend 0.05 in all"),
        ("depends: [a, b]", "depends must name two of its contrasts"),
        ("rule: any", r"rule: should be 'all' or .* \(got 'any'\)"),
    ],
)
def test_mistakes_in_a_claim_are_told(change, message, tmp_path):
    text = (ROOT / "src/kedge_papers/claims/06-before.yaml").read_text()
    key = change.split(":")[0]
    text = "\n".join(line for line in text.splitlines() if not line.startswith(key))
    (tmp_path / "x.yaml").write_text(f"{text}\n{change}\n")
    with pytest.raises(ConfigError, match=message):
        load_claim(tmp_path / "x.yaml")


def claim_of(*effects: str, **more) -> Claim:
    contrasts = tuple(Contrast(name, "planted", {"name": name}) for name in effects)
    return Claim(1, "It is so", "ours", "Is it?", "planted", contrasts, **more)


@pytest.fixture
def planted(monkeypatch):
    """Contrasts whose effects and p-values a test names: name → (effect, p), or a list of them for each look."""
    known: dict = {}

    def kind(outcome, options):
        if options["name"] not in known:
            return None
        effect, p, *equal = known[options["name"]]
        units = (effect - 0.1, effect + 0.1)
        return Measured(Interval(effect, effect - 1, effect + 1, 3), p, units, "seeds", "text", *equal)

    monkeypatch.setitem(KINDS, "planted", kind)
    return known


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        ([(0.3, 0.001), (0.2, 0.002), (0.4, 0.001)], HOLDS),
        ([(0.3, 0.001), (0.2, 0.2), (0.4, 0.001)], OPEN),
        ([(0.3, 0.001), (-0.2, 0.001), (0.4, 0.001)], FAILS),
        ([(0.3, 0.2), (-0.2, 0.001), (0.4, 0.9)], FAILS),
        ([(0.3, 0.2), (-0.2, 0.03), (0.4, 0.9)], OPEN),  # one of three: its p counts three times
    ],
)
def test_a_claim_about_all_cases_is_refuted_by_a_part(effects, verdict, planted):
    """Raters preferred RLCM's pictures for one of four rewards, beyond chance: that was "cannot tell here"."""
    planted |= dict(zip("abc", effects, strict=True))
    (judgement,) = judge_all([claim_of("a", "b", "c")], {"planted": result([])}, looks=False)
    assert judgement.verdict.split(":")[0] == verdict


def test_a_part_that_was_not_measured_can_not_hold_but_others_can_refute(planted):
    planted |= {"a": (0.3, 1e-6)}
    assert judge(claim_of("a", "b"), result([]), looks=False).p == 1.0
    planted["a"] = (-0.3, 1e-6)
    (judgement,) = judge_all([claim_of("a", "b")], {"planted": result([])}, looks=False)
    assert judgement.verdict == FAILS
    assert judge(claim_of("a"), None).answer == MISSING


def test_it_depends_only_where_two_named_contrasts_are_decided_differently(planted):
    planted |= {"a": (0.3, 0.001), "b": (-0.2, 0.001), "c": (0.1, 0.5)}
    named = claim_of("a", "b", "c", depends=("a", "b"))
    assert judge_all([named], {"planted": result([])}, looks=False)[0].verdict == DEPENDS
    planted["a"] = (0.3, 0.2)
    assert judge_all([named], {"planted": result([])}, looks=False)[0].verdict == FAILS
    assert judge_all([claim_of("a", "b", "c")], {"planted": result([])}, looks=False)[0].verdict == FAILS


def test_where_it_cannot_be_told_that_it_depends_a_part_refutes_all_the_same(planted):
    """One of two named contrasts is decided among twelve claims, the other only by itself: it does not hold."""
    planted |= {"a": (0.3, 0.02), "b": (-0.2, 0.0005)}
    named = claim_of("a", "b", depends=("a", "b"))
    others = [replace(claim_of("x"), number=i) for i in range(2, 13)]
    assert judge_all([named], {"planted": result([])}, looks=False)[0].verdict == DEPENDS
    (first, *_) = judge_all([named, *others], {"planted": result([])}, looks=False)
    assert (first.verdict, first.p) == (FAILS, pytest.approx(0.001))
    planted["b"] = (-0.2, 0.02)
    assert judge_all([named, *others], {"planted": result([])}, looks=False)[0].verdict.startswith(OPEN)


def test_twelve_claims_are_tested_as_twelve(planted):
    """A p of 0.01 decides a claim that stands alone, and not one of twelve; unmeasured ones count."""
    planted |= {"a": (0.3, 0.01)}
    alone = judge_all([claim_of("a")], {"planted": result([])}, looks=False)
    assert alone[0].verdict == HOLDS
    others = [replace(claim_of("x"), number=i) for i in range(2, 13)]
    (first, *rest) = judge_all([claim_of("a"), *others], {"planted": result([])}, looks=False)
    assert first.corrected == pytest.approx(0.12)
    assert first.verdict.startswith(OPEN)
    assert {each.verdict for each in rest} == {MISSING}


def seeds(count: int) -> list:
    return [record("methods-x", seed, {"oracle": np.zeros(20)}) for seed in range(count)]


def test_one_looks_only_at_the_numbers_of_seeds_that_were_named(planted):
    """With five of 4, 6 and 8 seeds, four are looked at, by the share of the error that this look has."""
    planted |= {"a": (0.3, 0.001)}
    claim = claim_of("a", looks={4: 0.003, 6: 0.012, 8: 0.035})
    contrast = replace(claim.contrasts[0], options={"name": "a", "ours": "methods-x"})
    claim = replace(claim, contrasts=(contrast,))
    assert judge(claim, result(seeds(3))).answer == MISSING
    at_four = judge(claim, result(seeds(5)))
    assert (at_four.seeds, at_four.p) == (4, pytest.approx(0.001 * 0.05 / 0.003))
    at_eight = judge(claim, result(seeds(9)))
    assert (at_eight.seeds, at_eight.p) == (8, pytest.approx(0.001 * 0.05 / 0.035))


def test_undecided_says_how_much_it_would_take(planted):
    planted |= {"a": (0.1, 0.2)}
    verdict = judge_all([claim_of("a")], {"planted": result([])}, looks=False)[0].verdict
    assert verdict.startswith("undecided: about ")
    assert verdict.endswith(" seeds needed")
    planted["a"] = (0.001, 0.9)
    assert "more than 100 seeds" in judge_all([claim_of("a")], {"planted": result([])}, looks=False)[0].verdict


def test_undecided_ratios_of_variances_say_how_many_batches_it_would_take(monkeypatch):
    """They are no means of units: what one batch scatters follows from the interval."""
    units = np.random.default_rng(0).normal(0.1, 1.0, 50)
    mean = mean_interval(units)
    counted = Measured(mean, 0.5, tuple(units), "batches", "text")
    alone = Measured(mean, 0.5, (), "batches", "text")
    assert (alone.count, alone.sd) == (50, pytest.approx(counted.sd))
    verdicts = []
    for measured in (counted, alone):
        monkeypatch.setitem(KINDS, "planted", lambda outcome, options, measured=measured: measured)
        verdicts.append(judge_all([claim_of("a")], {"planted": result([])}, looks=False)[0].verdict)
    assert verdicts[0] == verdicts[1]
    assert re.fullmatch(r"undecided: about \d+ batches needed", verdicts[0])
    unknown = replace(alone, effect=Interval(0.1, -np.inf, np.inf, 50))
    monkeypatch.setitem(KINDS, "planted", lambda outcome, options: unknown)
    assert judge_all([claim_of("a")], {"planted": result([])}, looks=False)[0].verdict == OPEN


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        ([(0.3, 1e-4), (-0.2, 1e-4)], HOLDS),  # different winners
        ([(0.01, 0.6, 0.001), (0.02, 0.5, 0.4)], HOLDS),  # one part has none: equal within the margin
        ([(0.3, 1e-4), (0.2, 1e-4)], FAILS),  # one wins everywhere
        ([(0.3, 1e-4), (0.1, 0.3)], OPEN),
        ([(0.3, 0.02), (-0.2, 0.02)], OPEN),  # two parts and two ways to hold: its p counts four times
    ],
)
def test_no_single_winner_is_decided_by_those_that_differ(effects, verdict, planted):
    planted |= dict(zip("ab", effects, strict=True))
    claim = claim_of("a", "b", rule="no single winner")
    assert judge_all([claim], {"planted": result([])}, looks=False)[0].verdict.split(":")[0] == verdict


def speed_runs(ours: list[float], theirs: list[float]) -> list:
    scores = {"pickscore@emoji": np.linspace(0, 3, 20)}
    runs = [record("base-consistency-methods", None, scores)]
    for seed, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        runs.append(record("methods-none", seed, scores, curve=rising([0, a, 800], [0, 1, 1])))
        runs.append(record("methods-rlcm", seed, scores, curve=rising([0, b, 800], [0, 1, 1])))
    return runs


def test_times_faster_has_an_interval_and_is_decided_by_it():
    """ "17 times" held if a ratio of two noisy means was above 1."""
    contrast = Contrast(
        "queries", "speedup", {"ours": "methods-none", "theirs": "methods-rlcm", "x": "queries", "level": 0.5}
    )
    noisy = result(speed_runs([100, 100, 100], [90, 500, 100]))
    measured = measure(contrast, noisy)
    assert measured.effect.value > 0 > measured.effect.low
    assert measured.p > 0.05
    steady = result(speed_runs([100, 110, 100], [390, 400, 420]))
    measured = measure(contrast, steady)
    assert measured.p < 0.01
    assert measured.text.startswith("3.9 × (")
    assert seeds_in(contrast, steady) == 3
    assert measure(contrast, result(speed_runs([100], [390]))).p == 1.0  # one seed decides nothing


def test_a_look_at_four_seeds_does_not_see_the_fifth():
    """What comes later would be another look."""
    options = {"ours": "methods-none", "theirs": "methods-rlcm", "x": "queries", "level": 0.5}
    contrast = Contrast("queries", "speedup", options)
    ours, theirs = [100, 110, 100, 105, 700], [390, 400, 420, 410, 100]
    five, four = result(speed_runs(ours, theirs)), result(speed_runs(ours[:4], theirs[:4]))
    assert measure(contrast, five, 4) == measure(contrast, four)
    assert measure(contrast, five) != measure(contrast, four)


def arms(means: list[list[float]]) -> list:
    """A row of means for each arm, a value a seed."""
    names = ["beta-0.03--pickscore", "beta-0.01--pickscore", "beta-0--pickscore"]
    return [
        record(name, seed, {"oracle": np.full(len(PROMPTS), value)})
        for name, values in zip(names, means, strict=True)
        for seed, value in enumerate(values)
    ]


def test_a_peak_is_not_chosen_on_the_seeds_that_it_is_judged_on():
    """Of arms that do not differ the best is always above the last; chosen on other seeds it is so half of the time."""
    options = {
        "arms": ["beta-0.03--pickscore", "beta-0.01--pickscore", "beta-0--pickscore"],
        "against": "beta-0--pickscore",
    }
    contrast, above = Contrast("peak", "peak over", options), []
    for _ in range(40):
        noise = RNG.standard_normal((3, 6))
        above.append(measure(contrast, result(arms(noise.tolist()))).effect.value > 0)
        assert noise.mean(1).max() >= noise.mean(1)[-1]
    assert 8 <= sum(above) <= 32
    clear = result(arms([[0.4] * 6, [0.5, 0.51, 0.5, 0.52, 0.5, 0.5], [0.3] * 6]))
    assert measure(contrast, clear).p < 1e-6
    assert "best: beta-0.01" in measure(contrast, clear).text


def test_hacking_is_a_matter_of_several_seeds():
    """Falls along one run after its own peak are falls by construction, and one run is one run."""
    contrast = Contrast("fall", "after peak", {"runs": "beta-0--pickscore", "of": "truth"})

    def runs(count: int, fall: float) -> list:
        truths = [[0.4, 0.6, 0.6 - fall - 0.01 * seed] for seed in range(count)]
        curves = [rising([0, 10, 20], [0, 1, 2], **{"held_out/oracle": truth}) for truth in truths]
        return [record("beta-0--pickscore", seed, {"oracle": np.zeros(20)}, curve=c) for seed, c in enumerate(curves)]

    assert measure(contrast, result(runs(1, 0.2))) is None
    measured = measure(contrast, result(runs(6, 0.2)))
    assert measured.effect.value == pytest.approx(0.225)
    assert measured.p < 1e-6
    flat = measure(contrast, result(runs(6, -0.1)))
    assert flat.effect.value < 0.05


def test_a_table_of_metrics_is_judged_metric_by_metric():
    """ "Before training the diffusion model is better" held by the oracle alone, where two of six metrics fell."""
    claim = next(claim for claim in load_claims() if claim.experiment == "table4")
    start = np.linspace(0, 3, 20)
    metrics = [f"{name}@emoji" for name in ("pickscore", "aesthetic", "hpsv2", "clipscore", "blipscore", "imagereward")]
    before = {metric: start for metric in (*metrics, "oracle")}

    def judged_with(**changes: float):
        after = {
            metric: start + changes.get(metric.split("@")[0], 0.3) + 0.01 * RNG.standard_normal(20) for metric in before
        }
        recorded = result([record("base-diffusion", None, after), record("base-consistency", None, before)], "table4")
        return judge_all([claim], {"table4": recorded})[0]

    assert judged_with().verdict == HOLDS
    assert judged_with(aesthetic=-0.3, hpsv2=-0.3, clipscore=0.0).verdict == FAILS
    assert judged_with(aesthetic=-0.3).verdict == DEPENDS


def test_one_seed_decides_nothing():
    """A difference of one pair of trainings is beyond chance over prompts, and says nothing about the methods."""
    (claim,) = [each for each in load_claims() if each.number == 7]
    metrics = [f"{name}@emoji" for name in ("clipscore", "blipscore", "imagereward")]
    start = np.linspace(0, 3, 20)

    def runs(seeds: int) -> list:
        trained = [record("base-consistency", None, dict.fromkeys(metrics, start))]
        for seed in range(seeds):
            for name, rise in (("fisher--pickscore", 0.5), ("kl--pickscore", 0.0)):
                scores = {metric: start + rise + 0.01 * RNG.standard_normal(20) for metric in metrics}
                trained.append(record(name, seed, scores))
        return trained

    assert measure(claim.contrasts[0], result(runs(1))) is None
    assert measure(claim.contrasts[0], result(runs(2))).effect.value > 0.4


def table_four(rise: float) -> Result:
    """The diffusion model is better, or worse, by every metric."""
    start = np.linspace(0, 3, 20)
    before = dict.fromkeys((*(f"{name}@emoji" for name in METRICS), "oracle"), start)
    after = {metric: start + rise + 0.01 * RNG.standard_normal(20) for metric in before}
    return result([record("base-diffusion", None, after), record("base-consistency", None, before)], "table4")


def test_records_from_before_the_claims_decide_nothing():
    older = {"table4": result([record("base-diffusion", None), record("base-consistency", None)], "table4")}
    claims = load_claims()
    judgements = judged(claims, {}, older)
    newer = judged(claims, {"table4": table_four(0.3)}, {"table4": table_four(-0.3)})
    assert [each.verdict for each in newer if each.answer != MISSING] == [HOLDS]  # and not what was recorded before
    assert "**holds**" in claims_table(newer, {"table4": table_four(0.3)}, lambda name: name)
    assert summary(judgements, {}) == "Of 12 claims, 12 are not measured yet."
    table = claims_table(judgements, {}, lambda name: name)
    assert table.count("\n") == 13
    assert "**holds**" not in table


def test_an_experiment_that_has_begun_is_not_filled_up_from_older_records():
    begun, older = {"table4": result([record("base-diffusion", None)], "table4")}, {"table4": table_four(0.3)}
    assert {each.verdict for each in judged(load_claims(), begun, older)} == {MISSING}
    assert {each.verdict for each in judged(load_claims(), {}, older)} == {MISSING, HOLDS}


def test_a_p_value_from_an_interval_agrees_with_the_interval():
    assert p_of(Interval(1.0, 0.0, 2.0, 9)) == pytest.approx(0.05)
    assert p_of(Interval(-1.0, -2.0, 0.0, 9)) == pytest.approx(0.05)
    assert p_of(Interval(1.0, 0.5, 1.5, 9)) < 0.01 < 0.05 < p_of(Interval(1.0, -0.5, 2.5, 9))


def test_a_difference_has_to_exceed_the_margin_that_a_claim_names():
    """And with a margin of 0 it is the difference itself, p and all."""
    recorded = table_four(0.3)
    whole, none, enough, too_much = (
        measure(Contrast("a", "bases", {"metric": "pickscore", **more}), recorded)
        for more in ({}, {"beyond": 0.0}, {"beyond": 0.1}, {"beyond": 0.4})
    )
    assert none.effect == whole.effect
    assert none.p == pytest.approx(whole.p, rel=1e-6)
    assert enough.effect.value == pytest.approx(whole.effect.value - 0.1)
    assert enough.effect.value > 0 > too_much.effect.value
    assert max(enough.p, too_much.p) < 1e-3
    assert enough.sd == pytest.approx(whole.sd)


def noisy_batches(noise: float, seed: int) -> dict:
    """Gradients around one direction: their noise, as the record of an estimator holds it."""
    rng = np.random.default_rng(seed)
    direction = np.ones(50) / 50**0.5
    plain = gradient_noise(direction + noise * rng.standard_normal((48, 50)) / 50**0.5)
    return {"plain": plain.to_dict(), "penalty": 1.0}


def test_the_estimator_whose_batches_agree_more_is_the_steadier_one():
    """Beyond chance where it is; of two alike, chance decides in one study of twenty; the scale does not matter."""
    contrast = Contrast("a", "steadier", {"setting": "divergences", "arm": "one", "other": "other"})

    def measured(ours: float, theirs: float, seed: int = 0):
        settings = {"divergences": {"one": noisy_batches(ours, 2 * seed), "other": noisy_batches(theirs, 2 * seed + 1)}}
        return measure(contrast, replace(result([]), extra={"settings": settings}))

    assert measured(0.5, 1.0).effect.value > 0
    assert measured(1.0, 0.5).effect.value < 0
    assert measured(0.5, 1.0).p < 1e-6
    assert measured(0.5, 1.0).effect.value == pytest.approx(1 / (1 + 0.5**2) - 1 / (1 + 1.0**2), abs=0.05)
    wrong = sum(measured(0.7, 0.7, seed).p < 0.05 for seed in range(200))
    assert 2 <= wrong <= 20
    assert measure(contrast, result([])) is None


def test_what_either_study_decides_is_counted_once(planted):
    """And what neither decides, not at all."""
    claims = [replace(claim_of(name), number=number) for number, name in enumerate("abc", 1)]

    def study(a: float, b: float) -> list:
        planted.update(a=(0.3, a), b=(-0.3, b), c=(0.3, 0.5))
        return judge_all(claims, {"planted": result([])}, looks=False)

    first, second, neither = study(0.001, 0.5), study(0.001, 0.001), study(0.5, 0.5)
    assert (decided(first), decided(second), decided(neither)) == ({1}, {1, 2}, set())
    assert together(first, second) == "Together the two studies have decided 2 of the 3 claims."
    assert together(first, neither).endswith("1 of the 3 claims.")
    assert together(first, []) == ""

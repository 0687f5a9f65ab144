"""The race for the soonest reward at tiny size: it runs, goes on where it stopped, and orders as it says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from bench.reward_race_page import limit, ratio_of, verdict
from bench.reward_race_space import CLIPS, RATES, candidates, canonical, today
from bench.reward_race_trial import Trial, of_prompts
from bench.time_to_reward import Plan, Race, evenly, looked_at, order, run, start

from kedge.evaluation.result import Evaluation
from kedge.prompts.sets import prompts_of
from kedge_papers.runner import prompt_sets


def trial(rises: list[float], *, fell: bool = False, ended: str = "") -> Trial:
    looks = []
    for number, rise in enumerate(rises, start=1):
        judged = {"pickscore": {"rise": [rise], "fell": False}, "clipscore": {"rise": [0.0], "fell": fell}}
        looks.append({"due": 10 * number, "seconds": 10.0 * number, "queries": 80 * number, "rises": judged})
    return Trial(today(), 0, 10.0 * len(rises), looks, ended)


def test_sooner_is_better_then_higher_and_who_did_damage_comes_last() -> None:
    soon, late, never = trial([0.6, 0.7]), trial([0.2, 0.6]), trial([0.2, 0.4])
    lower, cheat, lost = trial([0.1, 0.1]), trial([2.0, 3.0], fell=True), trial([], ended="diverged")
    ranks = [order(each, 20.0) for each in (soon, late, never, lower, cheat, lost)]
    assert ranks == sorted(ranks, reverse=True)
    assert soon.reaching(0.5, 20.0).x == pytest.approx(10 * 0.5 / 0.6)
    assert never.reaching(0.5, 20.0).censored


def test_queries_are_not_censored_by_seconds() -> None:
    """80 queries every ten seconds: half a σ is reached after 150 of them, in less than 20 seconds."""
    ours, theirs = [trial([0.3, 0.6, 0.6]), trial([0.5, 0.6, 0.7])], [trial([0.1, 0.2, 0.3]), trial([0.2, 0.3, 0.6])]
    arms, record = {"winner": ours, "today": theirs}, {"level": 0.5, "longest": 30.0}
    assert limit(record, arms, "queries") == 240
    assert ours[0].reaching(0.5, limit(record, arms, "queries"), "queries").x == pytest.approx(80 + 80 * 2 / 3)
    assert ratio_of(record, arms, "queries").ratio.value > 1
    assert ratio_of(record, arms, "seconds").theirs_censored == 1


def test_the_table_tells_queries_beyond_the_number_of_seconds_and_who_fell() -> None:
    def seen(rises: list[float]) -> Trial:
        one = trial(rises, fell=True)
        for look in one.looks:
            look["rises"]["oracle"] = {"rise": [0.1, 0.3], "fell": False}
        return one

    arms = {"winner": [seen([0.3, 0.6, 0.6])] * 2, "today": [seen([0.1, 0.2, 0.6])] * 2}
    changes = {"winner": "w", "changes": {"model.steps": 2}}
    text = "\n".join(verdict({"level": 0.5, "longest": 30.0, "confirmation": changes}, arms))
    assert "| 17 (17 to 17) | 133 (133 to 133) | 0 of 2 |" in text
    assert "clipscore (2)" in text
    assert "The winner beside the preset as it is" in text
    assert "the truth there differs by +0.00" in text


def test_a_preset_that_changed_begins_a_new_race(tmp_path: Path) -> None:
    plan = Plan(budget=1.0, longest=0.5, tuning=2, test=2, seeds=2)
    out = tmp_path / "r.json.gz"
    races = [Race(plan, "emoji-rocm", changes, tmp_path, out) for changes in ([], ["optimizer.lr=1"])]
    for race in races:
        start(race)
    assert races[0].record["recipe"] != races[1].record["recipe"]
    trained = set(prompts_of(races[0].config(today(), 0).prompts))
    assert not trained & {*prompt_sets.tuning(), *prompt_sets.test()}


def test_what_came_later_does_not_change_an_earlier_rung() -> None:
    went_on, stopped = trial([0.2, 0.9]), trial([0.2])
    assert order(went_on, 10) == order(stopped, 10)
    assert order(trial([0.2, 0.9], ended="diverged"), 10) == order(stopped, 10)


def test_settings_that_come_to_the_same_training_are_one() -> None:
    assert canonical("last 4", "2", 2, 8, RATES[0], CLIPS[0])[:2] == ("all", "all")
    assert canonical("last 1", "detached", 8, 8, RATES[0], CLIPS[0])[:2] == ("last 1", "all")
    names = [candidate.name for candidate in candidates(0)]
    assert len(names) == len(set(names)) > 500


def test_longer_budgets_train_longer_and_rungs_double() -> None:
    short, long = Plan.of(20, 4), Plan.of(120, 4)
    assert short.longest < long.longest == 90
    ends = [times[-1] for times in long.times()]
    assert ends == pytest.approx([11.25, 22.5, 45, 90])


def test_prompts_are_taken_evenly() -> None:
    assert evenly(["a", "b", "c", "d"], 2) == ["a", "c"]
    assert evenly(["a", "b"], 5) == ["a", "b"]


def test_half_of_what_is_looked_at_is_of_the_trained_kind_and_levels_are_of_that_half() -> None:
    prompts, level = looked_at(["a", "b", "x", "y", "z", "u"], ["a", "b"], 6)
    assert prompts == ["a", "b", "a", "x", "y", "z"]
    assert level == ["a", "b"]
    whole = Evaluation("e", ("a", "x", "a", "b"), 0, {"score": np.array([1.0, 9.0, 3.0, 2.0])})
    part = of_prompts(whole, level)
    assert part.prompts == ("a", "a", "b")
    assert part.scores["score"].tolist() == [1.0, 3.0, 2.0]


@pytest.mark.slow
def test_a_race_runs_goes_on_and_writes_its_page(tmp_path: Path) -> None:
    plan = Plan(budget=1.0, longest=0.5, tuning=2, test=2, seeds=2, rungs=2, fewest=3)
    race = Race(plan, "emoji-rocm", ["model.steps=2"], tmp_path / "runs", tmp_path / "record.json.gz")
    page = tmp_path / "page.md"
    run(race, page)
    record = json.loads(gzip.decompress(race.out.read_bytes()))
    assert record["candidates"] == 3
    assert len(record["confirmation"]["trials"]) == 6
    text = page.read_text()
    assert "The preset as it is beside the preset as in version 0.1.0" in text
    assert record["confirmation"]["winner"] in text
    assert page.with_suffix(".png").stat().st_size > 1000

    # Stopped within the confirmation: what is written down is not trained again, the rest is.
    last = record["confirmation"]["trials"][-1]
    del record["trials"][last]
    race.out.write_bytes(gzip.compress(json.dumps(record).encode()))
    again = Race(plan, "emoji-rocm", ["model.steps=2"], tmp_path / "runs", tmp_path / "record.json.gz")
    run(again, page)
    assert again.record["trials"].keys() == race.record["trials"].keys()
    for key, known in record["trials"].items():
        assert again.record["trials"][key] == known

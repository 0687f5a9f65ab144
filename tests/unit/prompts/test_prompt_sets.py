"""Three sets of prompts: never overlapping, never misnamed, told, and unchanged by resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from helpers.training_world import recipe
from kedge.config import load_config, parse_config
from kedge.evaluation.run_log import read_log
from kedge.planning.plan import plan
from kedge.prompts.sets import PromptSets, split
from kedge.training.run import train
from kedge.workflows.measurement import choose_prompts


def own_file(folder: Path, count: int = 60, name: str = "mine.txt") -> Path:
    path = folder / name
    path.write_text("\n".join(f"a {name[:-4]} picture of thing {i}" for i in range(count)), encoding="utf-8")
    return path


def config(source: str | Path, **changes: Any):
    return parse_config(recipe(prompts={"source": str(source)}, **changes))


@given(
    st.lists(st.sampled_from([f"p{i}" for i in range(30)]), min_size=8, max_size=60).filter(
        lambda prompts: len(set(prompts)) > 6
    ),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 99),
)
def test_no_prompt_is_in_two_sets_and_none_is_lost(prompts, tuning, test, seed):
    sets = split(prompts, tuning, test, seed=seed)
    train_set, tuning_set, test_set = map(set, sets)
    assert not train_set & tuning_set
    assert not train_set & test_set
    assert not tuning_set & test_set
    assert train_set | tuning_set | test_set == set(prompts)
    assert (len(sets[1]), len(sets[2])) == (tuning, test)
    assert sets[0] == [prompt for prompt in prompts if prompt in train_set]  # order and repetitions stay
    assert sets == split(prompts, tuning, test, seed=seed)


@pytest.mark.parametrize("key", ["held_out", "test"])
def test_what_is_wrong_with_prompts_names_their_key(tmp_path, key):
    block = {"source": str(own_file(tmp_path, 2)), "count": 24}
    sets = PromptSets(parse_config(recipe(**{f"watch__{key}": block})))
    with pytest.raises(ValueError, match=rf"^watch\.{key}: count is 24, but .*mine\.txt has only 2$"):
        assert sets.tuning.role != sets.test.role
    with pytest.raises(ValueError, match=r"^prompts: count is 24"):
        PromptSets(parse_config(recipe(prompts=block)))


def test_something_must_be_left_to_train_on():
    with pytest.raises(ValueError, match="only 3 different"):
        split(["a", "b", "c", "a"], 2, 1)


def test_ones_own_file_is_split_and_told(tmp_path):
    sets = PromptSets(config(own_file(tmp_path)), new=True)
    assert [len(sets.train), len(sets.tuning.prompts), len(sets.test.prompts)] == [48, 6, 6]
    assert (sets.tuning.role, sets.test.role) == ("tuning", "test")
    assert (sets.config.prompts.tuning, sets.config.prompts.test) == (6, 6)
    (warning,) = sets.warnings()
    assert warning.startswith("12 of the 60 prompts are kept from training: 6 to watch it by, 6 to judge it by")
    lines = list(plan(config(own_file(tmp_path))))
    assert any(line.startswith("prompts: 48 of") and "12 kept from training" in line for line in lines)
    assert "watched by: 6 held-out prompts" in lines
    assert "judged by: 6 test prompts" in lines


def test_large_and_small_files(tmp_path):
    large = PromptSets(config(own_file(tmp_path, 5000)), new=True)
    assert (len(large.tuning.prompts), len(large.test.prompts)) == (64, 256)
    small = PromptSets(config(own_file(tmp_path, 12), watch__evaluate_every=1), new=True)
    assert len(small.train) == 12
    assert (small.tuning.role, small.test.role) == ("train", "train")
    assert "nothing is held out" in small.warnings()[0]
    watched = PromptSets(config(own_file(tmp_path, 12, "few.txt"), watch__evaluate_every=1), new=True)
    assert watched.tuning.name == "train_prompts"


def test_the_recipe_may_say_how_many_or_give_all_three(tmp_path):
    path = own_file(tmp_path)
    changed = recipe(prompts={"source": str(path), "tuning": 10, "test": 0})
    sets = PromptSets(parse_config(changed), new=True)
    assert (len(sets.train), len(sets.tuning.prompts)) == (50, 10)
    assert sets.test == sets.tuning  # judged by what it is watched by, and called so
    three = config(
        path,
        watch__held_out={"source": str(own_file(tmp_path, 9, "tuning.txt"))},
        watch__test={"source": str(own_file(tmp_path, 8, "test.txt"))},
    )
    sets = PromptSets(three, new=True)
    assert [len(sets.train), len(sets.tuning.prompts), len(sets.test.prompts)] == [60, 9, 8]


def test_named_sets_are_trained_on_whole_as_the_papers_do():
    sets = PromptSets(config("animals-45", watch__evaluate_every=5), new=True)
    assert len(sets.train) == 45
    assert (sets.tuning.role, sets.tuning.name) == ("train", "train_prompts")
    assert "nothing is held out" in sets.warnings()[0]


def test_a_held_out_set_that_is_trained_on_is_not_called_held_out(tmp_path, caplog):
    path = own_file(tmp_path)
    same = PromptSets(config(path, watch__held_out={"source": str(path), "count": 5}), new=True)
    assert same.tuning.role == "train"
    assert "they are called training prompts" in caplog.text
    mixed = tmp_path / "mixed.txt"
    mixed.write_text(path.read_text(encoding="utf-8") + "\nsomething new", encoding="utf-8")
    partly = PromptSets(config(path, watch__held_out={"source": str(mixed)}), new=True)
    assert partly.tuning.prompts == ["something new"]
    assert "60 of the 61 prompts of watch.held_out are in another set as well: left out" in caplog.text


def test_no_prompt_is_watched_by_and_judged_by(tmp_path, caplog):
    """``watch.held_out`` may hold what ``prompts.test`` keeps, and ``watch.test`` what ``watch.held_out`` does."""
    path, new = own_file(tmp_path), own_file(tmp_path, 3, "new.txt")
    both = tmp_path / "both.txt"
    both.write_text(path.read_text(encoding="utf-8") + "\n" + new.read_text(encoding="utf-8"), encoding="utf-8")
    own = {"source": str(path), "test": 5}
    apart = PromptSets(parse_config(recipe(prompts=own, watch__held_out={"source": str(both)})), new=True)
    assert apart.tuning.prompts == new.read_text(encoding="utf-8").split("\n")
    assert (len(apart.test.prompts), apart.test.role) == (5, "test")
    same = PromptSets(parse_config(recipe(prompts=own, watch__held_out={"source": str(path)})), new=True)
    assert same.tuning.prompts == same.test.prompts
    assert (same.tuning.role, same.test.role) == ("tuning", "tuning")
    assert "they are called held-out prompts" in caplog.text
    other = {"source": str(new)}
    twice = PromptSets(config(path, watch__held_out=other, watch__test=other), new=True)
    assert (twice.test.role, len(twice.test.prompts)) == ("tuning", 3)


def test_capitals_and_spaces_make_no_other_prompt(tmp_path):
    prompts = [f"a thing number {i}" for i in range(30)]
    path = tmp_path / "loud.txt"
    path.write_text("\n".join([*prompts, *map(str.upper, prompts), "A  thing number 3"]), encoding="utf-8")
    sets = PromptSets(config(path), new=True)
    assert [len(sets.tuning.prompts), len(sets.test.prompts)] == [3, 3]
    trained = set(map(str.lower, sets.train))
    assert len(trained - {"a  thing number 3"}) == 24
    assert not trained & {*map(str.lower, sets.tuning.prompts), *map(str.lower, sets.test.prompts)}
    loud = {"source": str(own_file(tmp_path, 2, "LOUD.txt"))}
    quiet = PromptSets(config(own_file(tmp_path, 60, "loud.txt"), watch__held_out=loud), new=True)
    assert quiet.tuning.role == "train"


def test_a_run_logs_and_reports_what_its_prompts_are(tmp_path):
    watching = {"watch__evaluate_every": 1, "watch__metrics": ["helpers.training_world:darkness"], "training__steps": 2}
    for source, key, words in [
        ("animals-45", "train_prompts/helpers.training_world:redness", "training prompts"),
        (str(own_file(tmp_path)), "held_out/helpers.training_world:redness", "held-out prompts"),
    ]:
        out = tmp_path / words.replace(" ", "-")
        train(config(source, **watching), out)
        log = read_log(out / "metrics.jsonl")
        assert all(key in line for line in log)
        assert f"mean on {words}" in (out / "README.md").read_text(encoding="utf-8")
        report = (out / "report.html").read_text(encoding="utf-8")
        assert f"{words.capitalize()}: redness" in report
        assert ("Held-out" in report) == (words == "held-out prompts")


def test_a_resumed_run_trains_on_the_same_prompts(tmp_path):
    out, path = tmp_path / "run", own_file(tmp_path)
    train(config(path, training__steps=2), out)
    saved = load_config(out / "config.yaml")
    assert (saved.prompts.tuning, saved.prompts.test) == (6, 6)
    train(config(path, training__steps=4), out, resume=True)  # a recipe that leaves the numbers open
    assert load_config(out / "config.yaml").prompts == saved.prompts
    assert choose_prompts(None, None, [str(out)]).role == "test"
    assert len(choose_prompts(None, 4, [str(out)]).prompts) == 4


@pytest.mark.parametrize("change", ["appended", "turned"])
def test_a_file_that_changed_is_split_anew_by_nobody(tmp_path, change):
    """Which prompts a run never saw follows from the file as it was: another would call training prompts held-out."""
    out, path = tmp_path / "run", own_file(tmp_path)
    train(config(path, training__steps=1), out)
    tested, lines = choose_prompts(None, None, [str(out)]).prompts, path.read_text(encoding="utf-8").split("\n")
    changed = [*lines, *(f"more {i}" for i in range(40))] if change == "appended" else lines[::-1]
    path.write_text("\n".join(changed), encoding="utf-8")
    assert set(PromptSets(load_config(out / "config.yaml")).test.prompts) != set(tested)  # some were trained on
    with pytest.raises(ValueError, match=r"run was trained on other prompts than .*mine\.txt holds now.*--prompts"):
        choose_prompts(None, None, [str(out)])
    with pytest.raises(ValueError, match="contents of prompts"):
        train(config(path, training__steps=2), out, resume=True)
    path.write_text("\n".join(lines), encoding="utf-8")
    assert choose_prompts(None, None, [str(out)]).prompts == tested


def test_prompts_that_another_run_was_trained_on_are_not_called_held_out(tmp_path, caplog):
    first, second, path = tmp_path / "first", tmp_path / "second", own_file(tmp_path)
    train(config(path, training__steps=1), first)
    train(parse_config(recipe(training__steps=1, prompts={"source": str(path), "tuning": 0, "test": 0})), second)
    assert choose_prompts(None, None, [str(first)]).role == "test"
    assert choose_prompts(None, None, [str(first), str(second)]).role == "train"
    assert "second was trained on 6 of these 6 prompts" in caplog.text
    chosen = choose_prompts(str(path), None, [str(first)])
    assert (chosen.role, len(chosen.prompts)) == ("given", 60)
    assert "first was trained on 48 of these 60 prompts" in caplog.text
    assert choose_prompts(["a new one"], None, [str(first)]).role == "given"


def test_an_old_run_that_kept_no_prompts_goes_on_with_all(tmp_path):
    out, path = tmp_path / "run", own_file(tmp_path)
    train(parse_config(recipe(training__steps=2, prompts={"source": str(path), "tuning": 0, "test": 0})), out)
    old = yaml.safe_load((out / "config.yaml").read_text(encoding="utf-8"))
    for key in ("tuning", "test"):  # config.yaml as it was written before there were three sets
        del old["prompts"][key]
    del old["watch"]["test"]
    (out / "config.yaml").write_text(yaml.safe_dump(old), encoding="utf-8")
    resumed = load_config(out / "config.yaml", ["training.steps=4"])
    assert train(resumed, out, resume=True).step == 4
    chosen = choose_prompts(None, None, [str(out)])
    assert (chosen.role, len(chosen.prompts)) == ("train", 60)


def test_evaluations_remember_what_their_prompts_were(tmp_path):
    from kedge.workflows.compare import compare

    out = tmp_path / "run"
    train(config(own_file(tmp_path), training__steps=2), out)
    compared = compare(out, device="cpu")
    facts = json.loads((out / "evaluation" / "tuned.json").read_text(encoding="utf-8"))["facts"]
    assert facts["prompts"] == "test"
    assert "6 test prompts" in compared.table().note
    assert "6 test prompts" in compared.report.read_text(encoding="utf-8")

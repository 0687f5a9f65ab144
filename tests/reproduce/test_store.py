"""The store of records: each run once, named by its content, and bytes that change only where a record does."""

from __future__ import annotations

import gzip
import json
import lzma
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest

from kedge.evaluation.result import Evaluation
from kedge_papers.records.packed import read_entries, replace_bytes
from kedge_papers.records.result import Result, sheet
from kedge_papers.records.run_record import RunRecord, digest
from kedge_papers.records.store import FORMAT, LOCK, MORE, OLDER, PICTURES, PROMPTS, RUNS, TARGETS, RecordStore

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)


def record(name: str, step: int = 2, role: str = "final", score: float = 1.0) -> RunRecord:
    scores = {role: Evaluation(name, ("a cat", "a dog"), 0, {"oracle": np.array([score, 2 / 3])})}
    curve = {"step": [1, step], "queries": [8.0, 8.0 * step]}
    return RunRecord(
        name, name, 0, ("a=1",), "x", "finished", "", step, 3.0, curve=curve, evaluations=scores, config={"beta": 0.1}
    )


def lines(folder) -> list[dict]:
    with lzma.open(folder / RUNS, "rt") as file:
        return [json.loads(line) for line in file]


def stored(folder) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (RUNS, PICTURES, TARGETS)}


def test_what_is_read_is_what_was_put(tmp_path):
    store, content = RecordStore(tmp_path), sheet(PIXELS)
    run = replace(record("first"), pictures={"final": digest(content)})
    store.put(Result("table", {"title": "A table", "budget": None}, (run,), {"votes": [1]}, {digest(content): content}))
    read = RecordStore(tmp_path).results()["table"]
    assert (read.facts, read.extra) == ({"title": "A table", "budget": None}, {"votes": [1]})
    assert read.runs[0].evaluations["final"].scores["oracle"].tolist() == [1.0, 0.66667]
    assert replace(read.runs[0], evaluations={}) == replace(run, evaluations={})
    assert np.array_equal(read.pictures(read.runs[0], "final"), PIXELS)


def test_one_run_is_recorded_once_whoever_shows_it(tmp_path):
    """Two targets measured the same training in two ways: one record has both."""
    store = RecordStore(tmp_path)
    store.put(Result("one", {}, (record("shared"),)), Result("two", {}, (record("shared", role="unseen"), record("b"))))
    assert [run["name"] for run in lines(tmp_path)] == ["b", "shared"]
    results = store.results()
    assert results["one"].runs[0] is not None
    assert set(results["one"].runs[0].evaluations) == {"final", "unseen"}
    assert results["one"].runs[0].identity == results["two"].runs[0].identity


def test_a_base_model_that_was_measured_on_two_sets_of_prompts_is_two_records(tmp_path):
    """The second study's Table 4 has prompts of its own: its base model once took the place of the other tables'."""
    base = replace(record("base"), curve={})
    other = Evaluation("base", ("a fox", "a cow"), 0, {"oracle": np.array([0.1, 0.2])})
    fresh = replace(base, evaluations={"final": other})
    store = RecordStore(tmp_path)
    store.put(Result("table1", {}, (base,)), Result("table2", {}, (base,)), Result("table4", {}, (fresh,)))
    results = store.results()
    prompts = {name: result.run("base").evaluations["final"].prompts for name, result in results.items()}
    assert prompts == {"table1": ("a cat", "a dog"), "table2": ("a cat", "a dog"), "table4": ("a fox", "a cow")}
    assert len(lines(tmp_path)) == 2


@pytest.mark.parametrize(
    ("scores", "unchanged"),
    [({"oracle": 1.25}, True), ({"oracle": 1.25, "pickscore@emoji": 2.0}, False)],
    ids=["the same again", "more than before"],
)
def test_a_base_model_that_is_measured_again_stays_as_it_was(scores, unchanged):
    """Another machine's rounding would move all that was compared with it."""
    base = replace(record("base"), curve={})
    again = replace(base, evaluations={"final": Evaluation("base", ("a cat", "a dog"), 0, _columns(scores))})

    joined = base.joined(again)

    assert (joined is base) is unchanged
    if not unchanged:
        assert set(joined.evaluations["final"].scores) == {"oracle", "pickscore@emoji"}


def test_a_base_model_takes_the_pictures_that_it_lacks(tmp_path):
    """Recorded first by a target that shows none, its sheet is not kept: one that shows pictures brings its own."""
    base = replace(record("base"), curve={})
    shown, other = sheet(np.zeros((2, 4, 4, 3), np.uint8)), digest(b"a sheet that is not kept")
    store = RecordStore(tmp_path)
    store.put(Result("table", {}, (replace(base, pictures={"final": other}),)))
    assert store.results()["table"].runs[0].pictures == {}
    store.put(Result("figure", {}, (replace(base, pictures={"final": digest(shown)}),), sheets={digest(shown): shown}))
    figure = store.results()["figure"]
    assert len(figure.pictures(figure.runs[0], "final")) == 2
    assert len(store.results()["table"].runs) == 1


def _columns(scores: dict[str, float]) -> dict[str, np.ndarray]:
    return {name: np.full(2, value) for name, value in scores.items()}


def test_prompts_are_kept_once_however_many_were_measured_on_them(tmp_path):
    store, names = RecordStore(tmp_path), ("a", "b", "c")
    store.put(Result("matrix", {}, tuple(map(record, names))))
    (entry,) = read_entries(tmp_path / PROMPTS).values()
    assert entry == {"prompts": ["a cat", "a dog"]}
    assert all("a cat" not in json.dumps(line) for line in lines(tmp_path))
    assert [run.evaluations["final"].prompts for run in store.results()["matrix"].runs] == [("a cat", "a dog")] * 3
    (tmp_path / PROMPTS).unlink()
    with pytest.raises(ValueError, match="the prompts that a was measured on are not there"):
        store.results()


@pytest.mark.parametrize("older", OLDER)
def test_records_of_an_older_format_are_read_and_rewritten(tmp_path, older):
    """Both had one gzip member an entry; in the first every run had its prompts within."""
    store = RecordStore(tmp_path)
    store.put(Result("matrix", {}, (record("a"), record("c")), {"votes": [1]}))
    runs, prompts = read_entries(tmp_path / RUNS), read_entries(tmp_path / PROMPTS)
    if older == "kedge-records-1":
        for entry in runs.values():
            entry["evaluations"]["final"]["prompts"] = ["a cat", "a dog"]
        prompts = {}
    for name, entries in ((RUNS, runs), (PROMPTS, prompts), (MORE, read_entries(tmp_path / MORE)), (PICTURES, {})):
        lines = [json.dumps({"id": key, **entry}) + "\n" for key, entry in entries.items()]
        members = b"".join(gzip.compress(line.encode()) for line in lines)
        (tmp_path / name).with_suffix(".gz").write_bytes(members)
        (tmp_path / name).unlink()
    index = tmp_path / TARGETS
    data = json.loads(index.read_text())
    del data["targets"]["matrix"]["more"]
    index.write_text(json.dumps({**data, "format": older}))
    assert store.results()["matrix"].extra == {"votes": [1]}
    store.put(Result("other", {}, (record("b"),)))
    assert FORMAT in index.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([LOCK, MORE, PICTURES, PROMPTS, RUNS, TARGETS])
    results = store.results()
    for target, name in (("matrix", "a"), ("matrix", "c"), ("other", "b")):
        assert results[target].run(name).evaluations["final"].prompts == ("a cat", "a dog")


@pytest.mark.parametrize(("before", "after"), [("matrix", "other"), ("other", "matrix")])
def test_a_partial_record_makes_room_for_the_finished_one(tmp_path, before, after):
    """What is put is newer than what is there, whatever the targets are called."""
    store = RecordStore(tmp_path)
    store.put(Result(before, {}, (record("a", step=5, score=0.1), record("b"))))
    store.put(Result(after, {}, (record("a", step=9, score=0.9),)))
    assert [run.step for run in store.results()[before].runs] == [9, 2]
    assert len(lines(tmp_path)) == 2
    partial = replace(record("a", step=3, score=0.2), state="partial")
    store.put(Result(after, {}, (partial,)))  # another machine has just begun it
    assert [run.step for run in store.results()[after].runs] == [9]


def test_a_prompt_may_hold_any_sign(tmp_path):
    """Some end a line for Python, though not in JSON."""
    prompts = ("a\u2028cat", "a\x85dog\u2029", "\r\x0b\x0c\x1c ☃")
    evaluation = Evaluation("a", prompts, 0, {"oracle": np.zeros(3)})
    RecordStore(tmp_path).put(Result("matrix", {}, (replace(record("a"), evaluations={"final": evaluation}),)))
    assert RecordStore(tmp_path).results()["matrix"].run("a").evaluations["final"].prompts == prompts


@pytest.mark.parametrize("killed", range(10))
def test_a_kill_between_any_two_files_loses_nothing(tmp_path, monkeypatch, killed):
    """What is read is what was there before or what is there after, and the same put finishes it."""
    old = Result("matrix", {"n": 1}, (record("a", score=0.25), record("b")), {"votes": [1]})
    other = Evaluation("a", ("a fox", "a cow"), 0, {"oracle": np.array([0.1, 0.2])})
    sheets = {digest(sheet(PIXELS)): sheet(PIXELS)}
    run = replace(record("a"), evaluations={"final": other}, pictures={"final": next(iter(sheets))})
    new = Result("matrix", {"n": 2}, (run, record("c")), {"votes": [2, 3]}, sheets)
    store, twin = RecordStore(tmp_path / "store"), RecordStore(tmp_path / "twin")
    store.put(old)
    twin.put(new)
    written = []

    def write(path, content):
        if len(written) == killed:
            raise KeyboardInterrupt
        written.append(path)
        replace_bytes(path, content)

    monkeypatch.setattr("kedge_papers.records.store.replace_bytes", write)
    if killed == 9:  # all nine files are written
        store.put(new)
    else:
        with pytest.raises(KeyboardInterrupt):
            store.put(new)
    read = store.results()["matrix"]
    assert (read.facts, read.extra) == (({"n": 1}, {"votes": [1]}) if killed <= 4 else ({"n": 2}, {"votes": [2, 3]}))
    assert {each.name for each in read.runs} == ({"a", "b"} if killed <= 4 else {"a", "c"})
    monkeypatch.undo()
    store.put(new)
    assert stored(store.folder) == stored(twin.folder)


def test_what_cannot_be_recorded_leaves_what_is_there(tmp_path):
    store = RecordStore(tmp_path)
    store.put(Result("matrix", {}, (record("a"),)))
    before = stored(tmp_path)
    with pytest.raises(TypeError):
        store.put(Result("matrix", {}, (record("a", step=7),), {"votes": {1, 2}}))
    assert stored(tmp_path) == before


def test_two_that_write_at_once_wait_for_each_other(tmp_path):
    def several(first: int) -> None:
        for i in range(first, first + 4):
            RecordStore(tmp_path).put(Result(f"target-{i}", {}, (record(f"run-{i}"),)))

    threads = [Thread(target=several, args=(first,)) for first in (0, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(RecordStore(tmp_path).results()) == [f"target-{i}" for i in range(8)]


def test_bytes_change_only_where_a_record_does(tmp_path):
    """A diff in version control is as large as the news: groups of other runs keep their bytes, in their order."""
    store = RecordStore(tmp_path)
    store.put(Result("matrix", {}, (record("b--0"), record("d--0"), record("d--1"))))
    before = stored(tmp_path)
    store.put(Result("matrix", {}, (record("b--0"), record("d--0"), record("d--1"))))
    assert stored(tmp_path) == before
    store.put(Result("matrix", {}, (record("d--0"), record("c--0"), record("d--1"), record("b--0"))))
    after = (tmp_path / RUNS).read_bytes()
    starts = b"\xfd7zXZ\0"
    b, d = before[RUNS].split(starts)[1:]
    assert after.startswith(starts + b)
    assert after.endswith(starts + d)
    twin = RecordStore(tmp_path / "twin")
    twin.put(Result("matrix", {}, (record("d--0"), record("c--0"), record("d--1"), record("b--0"))))
    assert stored(tmp_path / "twin") == stored(tmp_path)


def test_runs_alike_are_packed_together(tmp_path):
    """Their settings are nearly the same, and cost once."""
    runs = tuple(record(f"a--{seed}") for seed in range(8))
    RecordStore(tmp_path / "alike").put(Result("matrix", {}, runs))
    others = tuple(record(f"{name}--0") for name in "abcdefgh")
    RecordStore(tmp_path / "others").put(Result("matrix", {}, others))
    together, apart = ((tmp_path / name / RUNS).stat().st_size for name in ("alike", "others"))
    assert together < apart / 3


def test_records_of_two_worlds_are_not_mixed(tmp_path):
    """The same name, other weights: an average over them would be of nothing."""
    store = RecordStore(tmp_path)
    store.put(Result("matrix", {}, (replace(record("a"), base={"name": "emoji-lcm", "digest": "1" * 64}),)))
    newer = replace(record("b"), base={"name": "emoji-lcm", "digest": "2" * 64})
    with pytest.raises(ValueError, match="a started from emoji-lcm 11111111, b from 22222222"):
        store.put(Result("other", {}, (newer,)))
    assert list(store.results()) == ["matrix"]
    store.put(Result("matrix", {}, (newer,)))  # in place of the older ones


def test_a_record_that_was_changed_by_hand_is_refused(tmp_path):
    store = RecordStore(tmp_path)
    store.put(Result("matrix", {}, (record("a", score=0.25),)))
    whole = (tmp_path / RUNS).read_bytes()
    line = lzma.decompress(whole).decode()
    (tmp_path / RUNS).write_bytes(lzma.compress(line.replace("0.25", "0.75").encode()))
    with pytest.raises(ValueError, match=r"the record of a is not what its digest \w+ says"):
        store.results()
    for damaged in (whole[:-20], whole[:20] + b"?" + whole[21:], b"no archive"):
        (tmp_path / RUNS).write_bytes(damaged)
        with pytest.raises(ValueError, match="does not hold records that kedge reproduce wrote"):
            store.results()
    (tmp_path / RUNS).unlink()
    with pytest.raises(ValueError, match="the record of a that matrix shows is not there"):
        store.results()


def test_a_file_that_is_missing_is_no_empty_store(tmp_path):
    """What it held would be gone with the next result."""
    store = RecordStore(tmp_path)
    store.put(Result("matrix", {}, (record("a"),), {"votes": [1]}))
    for name, message in ((MORE, "lacks what matrix measured beyond its runs"), (TARGETS, f"no {TARGETS}: restore it")):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        with pytest.raises(ValueError, match=message):
            store.put(Result("other", {}, (record("b"),)))
        (tmp_path / name).write_bytes(content)
    store.put(Result("other", {}, (record("b"),)))
    assert set(store.results()) == {"matrix", "other"}

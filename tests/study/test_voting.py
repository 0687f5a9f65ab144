"""The rules of voting, on a real database."""

from __future__ import annotations

import random
import sqlite3

import pytest

from kedge.study.owner import progress
from kedge.study.records import read_records
from kedge.study.store import open_study
from kedge.study.voting import Answer, Refused, picture_file, read_answer, state, undo, vote


def where(store, rater: int) -> tuple[int, int]:
    now = state(store, rater)
    return now["position"], now["question"]


def test_answers_come_in_order_question_by_question(make_study) -> None:
    store = make_study(pairs=2, questions="preference,appeal")
    seen = []
    while state(store, 1)["position"] < 2:
        seen.append(where(store, 1))
        vote(store, 1, Answer(*seen[-1], "left", 900))
    assert seen == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert where(store, 2) == (0, 0)


@pytest.mark.parametrize("wrong", [(0, 1), (1, 0), (0, 7), (99, 0)])
def test_another_answer_than_the_one_that_is_due_is_refused(make_study, wrong) -> None:
    store = make_study(questions="preference,appeal")
    with pytest.raises(Refused) as refused:
        vote(store, 1, Answer(*wrong, "left", None))
    assert refused.value.status == 409
    assert read_records(store) == []


def test_a_random_walk_of_votes_and_undos_ends_as_a_list_would(make_study) -> None:
    store, rng, expected = make_study(pairs=5, questions="preference,appeal", checks=0.4), random.Random(0), []
    for _ in range(120):
        position, question = where(store, 1)
        assert (position, question) == divmod(len(expected), 2)
        if rng.random() < 0.45 and expected:
            undo(store, 1, *divmod(len(expected) - 1, 2))
            expected.pop()
        elif position < state(store, 1)["total"]:
            expected.append(rng.choice(["left", "right", "tie"]))
            vote(store, 1, Answer(position, question, expected[-1], 5))
    by_time = sorted((r for r in read_records(store)), key=lambda r: (r.position, r.question != "preference"))
    assert [record.choice for record in by_time] == expected


def test_undo_takes_back_only_the_last_answer_and_keeps_it_aside(make_study) -> None:
    store = make_study()
    vote(store, 1, Answer(0, 0, "left", None))
    vote(store, 1, Answer(1, 0, "tie", None))
    for wrong in ((0, 0), (2, 0), (1, 1)):
        with pytest.raises(Refused, match="not the last"):
            undo(store, 1, *wrong)
    undo(store, 1, 1, 0)
    assert where(store, 1) == (1, 0)
    assert [tuple(row)[1:3] for row in store.db.execute("SELECT * FROM undone")] == [(0, "tie")]
    undo(store, 1, 0, 0)
    with pytest.raises(Refused):
        undo(store, 1, 0, 0)


def test_a_stopped_study_takes_nothing_and_goes_on_where_it_was(make_study) -> None:
    store = make_study()
    vote(store, 1, Answer(0, 0, "left", None))
    store.set_open(False)
    for refused in (lambda: vote(store, 1, Answer(1, 0, "left", None)), lambda: undo(store, 1, 0, 0)):
        with pytest.raises(Refused) as error:
            refused()
        assert error.value.status == 403
    store.set_open(True)
    assert where(store, 1) == (1, 0)


def test_the_outcome_is_right_whichever_side_the_picture_stood_on(make_study) -> None:
    store = make_study("clean", "ruined", pairs=12)
    clean = {row["first_file"] for row in store.db.execute("SELECT first_file FROM pair")}
    for position in range(12):
        left = picture_file(store, 1, position, "left")
        vote(store, 1, Answer(position, 0, "left" if left in clean else "right", None))
    records = read_records(store)
    assert {(r.first, r.second, r.winner, r.outcome) for r in records} == {("clean", "ruined", "first", 1.0)}
    assert {r.choice for r in records} == {"left", "right"}
    assert sum(r.swapped for r in records) == 6


def test_only_seen_pairs_and_the_next_have_pictures(make_study) -> None:
    store = make_study()
    assert picture_file(store, 1, 0, "left")
    assert picture_file(store, 1, 1, "right")
    assert picture_file(store, 1, 2, "left") is None
    assert picture_file(store, 1, 0, "first") is None


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        {"position": 0, "question": 0},
        {"position": True, "question": 0, "choice": "left"},
        {"position": 0.0, "question": 0, "choice": "left"},
        {"position": -1, "question": 0, "choice": "left"},
        {"position": 10**40, "question": 0, "choice": "left"},
        {"position": 0, "question": 0, "choice": "LEFT"},
        {"position": 0, "question": 0, "choice": ["left"]},
        {"position": 0, "question": 0, "choice": "left", "milliseconds": -1},
        {"position": 0, "question": 0, "choice": "left", "milliseconds": float("nan")},
        {"position": 0, "question": 0, "choice": "left", "milliseconds": True},
    ],
)
def test_what_is_no_answer_is_refused(wrong) -> None:
    with pytest.raises(Refused) as refused:
        read_answer(wrong)
    assert refused.value.status == 400


@pytest.mark.parametrize(("taken", "seconds"), [(86_400_000, 86_400), (86_400_001, None), (10**40, None)])
def test_an_answer_from_a_page_that_stood_open_for_days_counts_and_its_time_is_unknown(
    make_study, taken, seconds
) -> None:
    store = make_study()
    vote(store, 1, read_answer({"position": 0, "question": 0, "choice": "left", "milliseconds": taken}))
    (record,) = read_records(store)
    assert (record.choice, record.seconds) == ("left", seconds)
    assert progress(store)["votes"] == 1


def test_a_study_is_written_whole_in_wal_mode_and_reopened(make_study, tmp_path) -> None:
    store = make_study()
    assert store.db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert store.db.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert not list(tmp_path.glob(".*draft"))
    assert open_study(store.folder).facts() == store.facts()
    with pytest.raises(ValueError, match="exists"):
        make_study()


def test_what_is_no_study_says_so(tmp_path) -> None:
    with pytest.raises(ValueError, match="is not a study"):
        open_study(tmp_path)
    (tmp_path / "study.sqlite").write_bytes(b"rubbish" * 100)
    with pytest.raises(ValueError, match="cannot be read"):
        open_study(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    sqlite3.connect(other / "study.sqlite").execute("PRAGMA user_version = 9").connection.close()
    with pytest.raises(ValueError, match="version 9"):
        open_study(other)


def test_pictures_tell_nothing_by_name_size_or_metadata(make_study) -> None:
    from PIL import Image

    store = make_study()
    names = [file.stem for file in store.pictures.iterdir()]
    assert all(len(name) == 32 and int(name, 16) >= 0 for name in names)
    shapes = {(image.size, image.mode, tuple(image.info)) for image in map(Image.open, store.pictures.iterdir())}
    assert len(shapes) == 1
    assert not next(iter(shapes))[2]


def test_pictures_of_two_sizes_are_shown_in_one(tmp_path, folders) -> None:
    from PIL import Image

    from kedge.evaluation.image_folder import read_image_folder
    from kedge.study.create import create_study
    from kedge.study.design import Design
    from kedge.study.questions import parse_questions
    from kedge.study.sources import FolderSource

    paths, prompts = read_image_folder(folders["clean"])
    large = tmp_path / "large"
    large.mkdir()
    for path in paths:
        Image.open(path).resize((64, 64)).save(large / path.name)
    (large / "prompts.txt").write_text("\n".join(prompts))
    sources = [FolderSource(folders["clean"]), FolderSource(large)]
    store = create_study(tmp_path / "s", sources, prompts, parse_questions("preference"), Design(4))
    assert {Image.open(file).size for file in store.pictures.iterdir()} == {(64, 64)}

"""Reports and exports of real studies."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from pathlib import Path

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from helpers.study_votes import fill
from kedge.cli.study import app
from kedge.study.export import pickapic_rows
from kedge.study.report import write_study_report
from kedge.study.store import Store
from kedge.study.voting import Answer, vote


def study(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception:
        raise result.exception
    return result.stdout


@pytest.fixture
def voted(make_study) -> Store:
    store = make_study(pairs=16, raters=4, questions="preference,appeal,alignment", checks=0.25)
    fill(store, lambda rng: 0.9)
    return store


def test_the_report_says_who_won_in_every_format(voted) -> None:
    text = study("report", voted.folder)
    assert "clean is preferred to ruined" in text
    folder = voted.folder / "report"
    assert sorted(p.name for p in folder.iterdir()) == [
        "preference.svg",
        "report.html",
        "report.json",
        "report.md",
        "votes.csv",
    ]
    data = json.loads((folder / "report.json").read_text())
    assert [contest["question"] for contest in data["contests"]] == ["preference", "appeal", "alignment"]
    assert all(contest["rate"]["low"] > 0.5 for contest in data["contests"])
    assert data["votes"] == 4 * 16 * 3
    assert sum(rater["repeats"] for rater in data["raters"]) == 4 * 4 * 3
    page = (folder / "report.html").read_text()
    assert page.count("<rect") == 9
    head = (folder / "report.md").read_text().partition("| Question |")[2].splitlines()
    assert "| α | Seconds |" in head[0]
    (wins,) = {contest["shares"][0]["value"] for contest in data["contests"] if contest["question"] == "preference"}
    assert f">{100 * wins:.0f} %<" in page  # the chart and the table say the same
    assert f"{100 * wins:.0f} % (" in head[2]
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "| General preference |" in (folder / "report.md").read_text()


def test_a_study_that_shows_nothing_says_nothing(make_study) -> None:
    store = make_study(pairs=12, raters=3)
    fill(store, lambda rng: 0.5)
    assert "beyond chance" in study("report", store.folder)


def test_a_guessing_rater_is_named_and_can_be_left_out(make_study) -> None:
    store = make_study(pairs=16, raters=2, checks=0.5)
    fill(store, lambda rng: 0.99)
    store.add_rater("lazy")
    for position in range(24):
        vote(store, 3, Answer(position, 0, "left", 100))
    assert "--exclude r3" in study("report", store.folder)
    text = study("report", store.folder, "--exclude", "r3")
    assert "r3 turned" not in text
    assert json.loads((store.folder / "report" / "report.json").read_text())["excluded"] == ["r3"]
    with pytest.raises(ValueError, match="no votes by r9"):
        study("report", store.folder, "--exclude", "r9")


def test_names_and_prompts_are_text_in_the_report(make_study) -> None:
    store = make_study(pairs=4)
    with store.writing() as db:
        db.execute("UPDATE model SET name = '<b>clean</b>|' WHERE id = 0")
        db.execute("""UPDATE study SET value = '"<script>alert(1)</script>"' WHERE key = 'title'""")
    fill(store, lambda rng: 0.9)
    write_study_report(store)
    page = (store.folder / "report" / "report.html").read_text()
    assert "<b>clean" not in page
    assert "<script" not in page
    assert "<b>clean" not in (store.folder / "report" / "preference.svg").read_text()


def test_three_models_get_a_ranking(make_study) -> None:
    store = make_study("clean", "grainy", "ruined", pairs=30, raters=2)
    fill(store, lambda rng: 0.85)
    analysis = write_study_report(store)
    assert len(analysis.contests) == 3
    ranking = analysis.ranking["preference"]
    assert ranking["clean"].value > ranking["grainy"].value > ranking["ruined"].value
    assert "Bradley–Terry" in (store.folder / "report" / "report.html").read_text()


def test_the_plain_table_holds_every_vote(voted, tmp_path) -> None:
    study("export", voted.folder, "--out", tmp_path / "votes.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "votes.csv").read_text())))
    assert len(rows) == 4 * 20 * 3
    for row in rows:
        left = row["second"] if row["swapped"] == "True" else row["first"]
        assert (row["choice"] == "left") == (row[row["winner"]] == left)


def test_pick_a_pics_columns(voted, tmp_path) -> None:
    """The names and meanings of yuvalkirstain/pickapic_v1."""
    study("export", voted.folder, "--out", tmp_path / "p.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet")
    assert set(table.column_names) == {
        "are_different", "best_image_uid", "caption", "created_at", "has_label", "image_0_uid", "image_0_url",
        "image_1_uid", "image_1_url", "jpg_0", "jpg_1", "label_0", "label_1", "model_0", "model_1",
        "ranking_id", "user_id",
    }  # fmt: skip
    rows = table.to_pylist()
    assert len(rows) == 4 * 16
    for row in rows:
        assert row["label_0"] + row["label_1"] == 1
        assert row["best_image_uid"] == (row["image_0_uid"] if row["label_0"] == 1 else row["image_1_uid"])
        assert row["jpg_0"] == Path(voted.folder, row["image_0_url"]).read_bytes()
    study("export", voted.folder, "--out", tmp_path / "my-pickapic.csv")
    assert len((tmp_path / "my-pickapic.csv").read_text().splitlines()) == 65
    assert {row["label_0"] for row in pickapic_rows(voted)} == {0.0, 1.0}


def test_a_place_that_cannot_be_written_is_named(voted, tmp_path) -> None:
    file, folder = tmp_path / "notes", tmp_path / "votes.csv"
    file.write_text("mine")
    folder.mkdir()
    for command, out, words in (
        ("export", file / "votes.csv", f"{file} is a file"),
        ("export", folder, "is a folder: name a file in it"),
        ("report", file, f"{file} is a file"),
        ("report", file / "deeper", f"{file} is a file"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            study(command, voted.folder, "--out", out)
    assert file.read_text() == "mine"


def test_an_unknown_format_is_refused(voted, tmp_path) -> None:
    with pytest.raises(ValueError, match="must end in"):
        study("export", voted.folder, "--out", tmp_path / "x.doc")


def test_answers_that_are_too_quick_for_a_look_are_named(make_study) -> None:
    store = make_study(pairs=16, raters=2)
    fill(store, lambda rng: 0.99)
    assert "too little to look" not in study("report", store.folder)
    store.add_rater("a program")
    for position in range(16):
        vote(store, 3, Answer(position, 0, ("left", "right")[position % 2], 200))
    text = study("report", store.folder)
    assert "r3 took 0.2 s for an answer (median)" in text
    assert "--exclude r3" in text


def test_a_report_shows_pictures_and_says_what_they_and_the_chart_show(voted) -> None:
    study("report", voted.folder)
    page = (voted.folder / "report" / "report.html").read_text(encoding="utf-8")
    shown = re.findall(r'<img alt="(clean|ruined): ([^"]+)" src="data:image/png', page)
    first = [row["prompt"] for row in voted.db.execute("SELECT prompt FROM pair ORDER BY id LIMIT 8")]
    assert shown == [(model, html.escape(prompt)) for prompt in first for model in ("clean", "ruined")]
    votes = re.findall(r"<span>(?:clean|ruined): (\d+) of 12 votes</span>", page)  # four raters, three questions
    assert [sum(map(int, votes[i : i + 2])) for i in range(0, 16, 2)] == [12] * 8
    contest = json.loads((voted.folder / "report" / "report.json").read_text())["contests"][0]
    won, tied, lost = (f"{100 * share['value']:.0f} %" for share in contest["shares"])
    assert f"General preference: clean {won}, tie {tied}, ruined {lost}" in page
    assert len(re.findall('class="scroll" tabindex="0"', page)) == page.count('class="scroll"') == 3

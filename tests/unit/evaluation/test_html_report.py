from __future__ import annotations

import json
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from kedge.evaluation import evaluate, image_grid
from kedge.evaluation.picture_files import save_picture
from kedge.evaluation.records import BASE, TUNED, evaluation_folder, load_pair, load_record, rival_role, save_record
from kedge.evaluation.report import write_report

VOID = {"meta", "img", "br", "path", "use"}


class Checker(HTMLParser):
    """Tags must nest; nothing may be fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.images: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        for name in ("src", "href", "xlink:href"):
            assert values.get(name, "#").startswith(("#", "data:")), values
        if tag == "img":
            self.images.append(values["alt"])
            assert values["alt"].strip()  # said in words too
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(path: Path) -> tuple[str, Checker]:
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    assert checker.open == []
    return " ".join(" ".join(checker.text).split()), checker


@pytest.fixture
def run(tmp_path: Path, policy, rewards, prompts) -> Path:
    folder = tmp_path / "my-run"
    folder.mkdir()
    config = {
        "model": {"name": "emoji-lcm", "steps": 3},
        "reward": "colour",
        "algorithm": {"name": "rocm", "divergence": "kl"},
        "training": {"steps": 40, "batch_size": 4, "accumulation": 2, "seed": 7},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "env.json").write_text(json.dumps({"kedge": "0.1.0", "device": "cpu"}))
    lines = [{"step": s, "reward": s / 40, "divergence": s / 100, "loss": None, "seconds": 2.0} for s in range(1, 41)]
    lines.insert(0, {"step": 0, "held_out/colour": -0.5})
    lines[-1]["held_out/colour"] = -0.2
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 41, "rew')
    names = [*prompts, *(f"red thing {i}" for i in range(15))]
    for reference in (True, False):
        result = evaluate(policy, rewards, names, seed=0, batch_size=20, reference=reference, keep_images=4)
        save_record(evaluation_folder(folder), result)
    return folder


def _state(run: Path, *, ended: int, evaluated: int) -> str:
    """The report of a run that ended at a step, whose evaluation and frontier are of another."""
    (run / "ended.json").write_text(json.dumps({"ended": "finished", "step": ended, "reason": ""}))
    folder = evaluation_folder(run)
    tuned = load_record(folder, TUNED)
    save_record(folder, replace(tuned, facts={**tuned.facts, "step": evaluated}))
    return read(write_report(run))[0]


def test_what_was_evaluated_before_the_run_went_on_is_not_shown_as_its_result(run: Path) -> None:
    text = _state(run, ended=40, evaluated=6)
    assert "Evaluated at step 6, and the run has gone on since: kedge compare" in text
    assert "Higher than base" not in text
    for ended, evaluated in ((40, 40), (39, 6)):  # of its result; a kill left the log ahead of what ended before
        text = _state(run, ended=ended, evaluated=evaluated)
        assert "has gone on" not in text
        assert "Higher than base" in text


def test_a_finished_run(run: Path) -> None:
    path = write_report(run)
    text, page = read(path)
    assert path == run / "report.html"
    assert path.read_text().partition("<h2>Pictures</h2>")[2].count("<img") == 2 * 4
    base, tuned = (load_record(evaluation_folder(run), name) for name in (BASE, TUNED))
    fallen = tuned.prompts[(tuned.values("bright") - base.values("bright"))[:4].argmin()]  # of those with a picture
    assert page.images[:2] == [f"base: {fallen}", f"tuned: {fallen}"]
    for piece in (
        "my-run",
        "rocm kl",
        "4 × 2",
        "1 min 20 s",
        "trained on",
        "Higher than base",
        "Divergence from the base",
    ):
        assert piece in path.read_text(), piece
    assert "Held-out prompts: colour" in text
    assert "Not evaluated yet" not in text
    assert "over 20 prompts" in text


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    tmp_path /= "a run's folder"
    tmp_path.mkdir()
    (tmp_path / "config.yaml").write_text("model: emoji-lcm\nreward: pickscore@emoji\n")
    text, page = read(write_report(tmp_path))
    assert "Not evaluated yet" in text
    assert f"kedge compare {shlex.quote(str(tmp_path))} adds results" in text
    assert "PickScore" in text
    assert not page.images
    (tmp_path / "samples").mkdir()
    grid = image_grid({"base": [Image.new("RGB", (8, 8))]}, ["a fox in <snow>"])
    save_picture(grid, tmp_path / "samples" / "step-000003.png")
    _, page = read(write_report(tmp_path))
    assert page.images == ["Base beside tuned, step 000003. Columns: base. Rows: 1. a fox in <snow>"]


def test_a_picture_that_was_cut_and_a_damaged_file(run: Path) -> None:
    (run / "samples").mkdir()
    grid = image_grid({"base": [Image.new("RGB", (64, 64))]}, ["a fox"])
    whole = save_picture(grid, run / "samples" / "step-000003.png").read_bytes()
    for length in (0, 4, 40, len(whole) // 2):
        (run / "samples" / "step-000003.png").write_bytes(whole[:length])
        write_report(run)
    (run / "env.json").write_text('{"kedge": ')
    with pytest.raises(ValueError, match=r"env\.json is damaged"):
        write_report(run)


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no config\.yaml"):
        write_report(tmp_path)


def test_prompts_made_of_html_are_shown_as_text(run: Path) -> None:
    folder = evaluation_folder(run)
    nasty = "<script>alert('x')</script> & <b>"
    for role in ("base", "tuned"):
        record = load_record(folder, role)
        save_record(folder, replace(record, prompts=(nasty, *record.prompts[1:])), role)
    (run / "config.yaml").write_text(yaml.safe_dump({"reward": "colour", "model": {"name": nasty}}))
    path = write_report(run)
    text, _ = read(path)
    assert "<script" not in path.read_text()
    assert nasty in text


def test_against_another_run(run: Path) -> None:
    folder = evaluation_folder(run)
    other = load_record(folder, "base")
    save_record(folder, other, rival_role("runs/other"))
    path = write_report(run, against="runs/other")
    assert path.name == "report-against-runs-other.html"
    assert "Higher than runs/other" in read(path)[0]


def test_the_base_is_not_looked_for_among_the_records_of_other_runs(run: Path) -> None:
    folder = evaluation_folder(run)
    tuned, other = (load_record(folder, name) for name in (TUNED, BASE))
    facts = {"plan": "same", "key": "0" * 16}
    save_record(folder, replace(tuned, facts=facts), TUNED)
    save_record(folder, replace(other, prompts=other.prompts[::-1]), BASE)  # answered another question
    save_record(folder, replace(other, facts=facts), "base-line")
    assert load_pair(folder, TUNED, BASE)[1] is None
    save_record(folder, replace(other, facts=facts), "base-00000000")
    assert load_pair(folder, TUNED, BASE)[1] is not None


def test_records_round_trip_with_pictures(run: Path, tmp_path: Path) -> None:
    record = load_record(evaluation_folder(run), "tuned")
    save_record(tmp_path, record)
    again = load_record(tmp_path, "tuned")
    assert np.array_equal(again.images, record.images)
    assert np.array_equal(again.scores["colour"], record.scores["colour"])
    assert load_record(tmp_path, "none") is None
    save_record(tmp_path, replace(record, images=record.images[:2]))
    assert len(load_record(tmp_path, "tuned").images) == 2
    save_record(tmp_path, replace(record, images=None))
    assert load_record(tmp_path, "tuned").images is None

"""The matrix: kept in run folders alone, so that nothing is lost by a kill, repeated, or stopped by its neighbour."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.processes import environment
from helpers.reproduce_world import MICRO
from kedge.cli.app import app
from kedge.config import ConfigError
from kedge.evaluation.records import evaluation_folder, load_record
from kedge.evaluation.run_log import read_log
from kedge.files import locked
from kedge.workflows.runner import cell
from kedge.workflows.runner.cell import steps_done
from kedge.workflows.runner.matrix import Matrix
from kedge.workflows.runner.runs import Measure
from kedge_papers.records.store import RecordStore
from kedge_papers.runner.experiment_set import load_experiment_set
from kedge_papers.runner.options import MatrixOptions

TARGET = "helpers.reproduce_world:MICRO"


def matrix(folder: Path, **settings) -> Matrix:
    return Matrix(MICRO.runs(MatrixOptions(load_experiment_set("emoji"), **settings)), folder)


def silent(text: str) -> None: ...


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A finished matrix, made by the command."""
    out = tmp_path_factory.mktemp("reproduce")
    result = CliRunner().invoke(app, ["reproduce", TARGET, "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out


def test_a_diverging_run_is_recorded_and_stops_nobody(done):
    again = matrix(done / "runs")
    assert [again.state(run) for run in again.runs] == ["finished", "finished", "diverged", "finished"]
    poisoned = again.find("poisoned")
    assert "finite gradient" in again.reason(poisoned)
    table = next((done / TARGET).glob("*.md")).read_text()
    assert "Poisoned (seed 0) diverged at step" in table
    assert [line.split("|")[1].strip() for line in table.splitlines()[4:7]] == ["Before", "First", "Second"]


def test_what_is_finished_is_not_done_again(done):
    stamps = {path: path.stat().st_mtime_ns for path in (done / "runs").rglob("*") if path.is_file()}
    lines: list[str] = []
    matrix(done / "runs").go(lines.append)
    assert stamps == {path: path.stat().st_mtime_ns for path in (done / "runs").rglob("*") if path.is_file()}
    assert lines == ["runs 4 of 4 · 100 % of the training · 1 diverged"]


def test_a_killed_matrix_goes_on_and_ends_where_it_would_have(done, tmp_path):
    command = [sys.executable, "-m", "kedge", "reproduce", TARGET, "--out", str(tmp_path)]
    killed = subprocess.run(command, env=environment(KEDGE_TEST_DIE="6"), capture_output=True, timeout=120)
    assert killed.returncode == -9
    again = matrix(tmp_path / "runs")
    assert again.state(again.find("first")) == "partial"
    assert 0 < again.done(again.find("first")) < again.passes(again.find("first"))
    again.go(silent)
    for name in ("first", "second"):
        resumed, whole = (read_log(folder / "runs" / name / "metrics.jsonl") for folder in (tmp_path, done))
        timeless = [[{k: v for k, v in line.items() if k not in TIMES} for line in log] for log in (resumed, whole)]
        assert timeless[0] == timeless[1]


TIMES = ("seconds", "peak_memory_mb")


def test_a_run_stops_where_it_is_asked_to_and_goes_on_as_if_it_had_not(done, tmp_path):
    """Successive halving measures a run at a rung and lets it go on: it ends where an uninterrupted one would have."""
    whole = matrix(tmp_path / "runs", overrides={"checkpoint.keep": 4}).find("first")
    measure = whole.measures["final"]
    half = replace(whole, until=4, measures={"rung-1": measure})
    stopped = Matrix((half,), tmp_path / "runs")
    stopped.go(silent)
    assert (stopped.state(half), steps_done(stopped.home(half))) == ("finished", 4)
    assert stopped.passes(half) == matrix(tmp_path / "runs").passes(whole) / 2
    measures = {"rung-1": measure, "final": measure, "at-5": replace(measure, at=5)}  # checkpoints: 2, 4, 6, 8
    longer = replace(whole, until=8, measures=measures)  # the last rung is the end
    lines: list[str] = []
    Matrix((longer,), tmp_path / "runs").go(lines.append)
    assert Matrix((longer,), tmp_path / "runs").state(longer) == "finished"
    assert not any("as far as was asked for" in line for line in lines)
    resumed, there = (read_log(folder / "runs" / "first" / "metrics.jsonl") for folder in (tmp_path, done))
    timeless = [[{k: v for k, v in line.items() if k not in TIMES} for line in log] for log in (resumed, there)]
    assert timeless[0] == timeless[1]
    rung, final = (load_record(evaluation_folder(stopped.home(whole)), role) for role in ("rung-1", "final"))
    assert rung.scores["helpers.training_world:redness"].mean() < final.scores["helpers.training_world:redness"].mean()
    looked_back = load_record(evaluation_folder(stopped.home(whole)), "at-5")
    assert {name: each.tolist() for name, each in looked_back.scores.items()} == {
        name: each.tolist() for name, each in rung.scores.items()
    }
    late = replace(whole, until=4, measures={"rung-1": measure, "missed": measure})
    Matrix((late,), tmp_path / "runs").go(silent)
    assert "went on to step 8, so it cannot be measured at step 4" in Matrix((late,), tmp_path / "runs").reason(late)


def test_listed_commands_run_as_they_are(tmp_path):
    runner = CliRunner()
    options = ["reproduce", TARGET, "training.batch_size=1", "--budget", "6", "--count", "3", "--out", str(tmp_path)]
    listed = runner.invoke(app, [*options, "--list"], catch_exceptions=False).output.splitlines()
    assert len(listed) == 4
    assert not (tmp_path / "runs").exists()
    for line in listed:
        program, *arguments = shlex.split(line)
        assert program == "kedge"
        assert runner.invoke(app, arguments, catch_exceptions=False).exit_code == 0
    short = matrix(tmp_path / "runs", budget=6, count=3, overrides={"training.batch_size": 1})
    assert not short.left()
    before = (tmp_path / "runs" / "first" / "metrics.jsonl").stat().st_mtime_ns
    assert runner.invoke(app, options, catch_exceptions=False).exit_code == 0
    assert (tmp_path / "runs" / "first" / "metrics.jsonl").stat().st_mtime_ns == before


def test_tables_come_from_the_records_alone(done, tmp_path):
    shutil.copytree(done / TARGET, tmp_path / TARGET)
    shutil.copytree(done / "records", tmp_path / "records")
    files = sorted((tmp_path / TARGET).iterdir())
    before = {path.name: path.read_text() for path in files}
    assert {path.suffix for path in files} == {".md", ".csv", ".tex"}
    for path in files:
        path.unlink()
    drawn = CliRunner().invoke(app, ["reproduce", TARGET, "--draw", "--out", str(tmp_path)], catch_exceptions=False)
    assert drawn.exit_code == 0
    assert {path.name: path.read_text() for path in files} == before


def test_a_record_holds_scores_curve_pictures_and_cost(done):
    result = RecordStore(done / "records").results()[TARGET]
    run = result.run("first")
    assert run.evaluations["final"].scores["helpers.training_world:redness"].shape == (4,)
    steps, queries = run.series("step", "queries")
    assert list(steps) == list(range(1, 9))
    assert list(queries) == [2 * step for step in steps]
    assert [picture.shape for picture in result.pictures(run, "final")] == [(8, 8, 3)] * 2
    assert run.passes == 2 * 3 * 2  # samples × sampling steps × (forward, back)
    assert run.base == {"name": "paint"}


def test_other_settings_under_the_same_name_are_refused(done):
    longer = matrix(done / "runs", budget=9)
    with pytest.raises(ConfigError, match=r"first holds a run with training.steps = 8, but now 9 is asked for"):
        longer.go(silent)


def test_a_metric_without_weights_is_left_out_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.reproduce_world.METRICS", ("helpers.training_world:redness", "hpsv2"))
    lacking = Matrix(matrix(tmp_path).runs[:1], tmp_path)
    lacking.go(silent)
    notes = json.loads((lacking.home(lacking.runs[0]) / "measured.json").read_text())
    assert list(notes["final"]["missing"]) == ["hpsv2"]
    assert lacking.state(lacking.runs[0]) == "finished"


def test_a_failure_is_told_and_tried_again(tmp_path):
    broken = matrix(tmp_path, overrides={"reward": "hpsv2"})  # its weights are not here
    lines: list[str] = []
    Matrix(broken.runs[1:2], tmp_path).go(lines.append)
    assert any("first: failed. reward 'hpsv2' needs" in line for line in lines)
    diverging = Matrix(matrix(tmp_path).runs[1:2], tmp_path)
    diverging.go(silent)
    assert diverging.state(diverging.runs[0]) == "finished"


def test_a_run_has_one_owner_at_a_time(tmp_path):
    with locked(tmp_path / "x") as ours, locked(tmp_path / "x") as theirs:
        assert (ours, theirs) == (True, False)
    with locked(tmp_path / "x") as ours:
        assert ours


def test_fewer_prompts_are_drawn_from_all_of_them():
    """Always the same, and not the first: a named set is sorted."""
    texts = tuple(f"prompt {i}" for i in range(40))
    chosen = cell._prompts(Measure(texts, ("redness",), count=10))
    assert chosen == cell._prompts(Measure(texts, ("darkness",), count=10, seed=3))
    assert len(set(chosen)) == 10
    assert set(chosen) <= set(texts)
    assert max(map(texts.index, chosen)) >= 20
    assert cell._prompts(Measure(texts, ("redness",), count=99)) == list(texts)


def test_runs_have_names_of_their_own(tmp_path):
    runs = matrix(tmp_path).runs
    with pytest.raises(ValueError, match="two runs of the matrix are called 'first'"):
        Matrix((*runs, runs[1]), tmp_path)
    with pytest.raises(ValueError, match=r"no run 'frist' in this matrix. Did you mean 'first'"):
        Matrix(runs, tmp_path).find("frist")


@pytest.mark.slow
def test_several_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    done = CliRunner().invoke(app, ["reproduce", TARGET, "--jobs", "2", "--out", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert [matrix(tmp_path / "runs").state(run) for run in matrix(tmp_path / "runs").runs].count("finished") == 3


def test_what_was_never_made_cannot_be_drawn(tmp_path):
    for option in (["--draw"], ["--publish", str(tmp_path / "pages")]):
        done = CliRunner().invoke(app, ["reproduce", "fig2", "--out", str(tmp_path / "out"), *option])
        assert isinstance(done.exception, ConfigError)
        assert "first run `kedge reproduce fig2 --out" in str(done.exception)
    assert list(tmp_path.iterdir()) == []

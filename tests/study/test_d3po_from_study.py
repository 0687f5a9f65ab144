"""From raters' clicks to a trained model, by the documented commands: new, export, train with D3PO."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.study_votes import fill
from kedge.cli.study import app
from kedge.evaluation.run_log import read_log
from kedge.study.records import read_records
from kedge.study.store import open_study
from kedge.workflows.train import train

SMALL = ["watch.samples_every=0", "watch.evaluate_every=0", "training.batch_size=8", "training.accumulation=1"]


def study(*arguments: object) -> None:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.fixture
def votes(micro_lcm: Path, tmp_path: Path) -> Path:
    """Two raters, who agree, on eight pairs by a model of random weights."""
    (tmp_path / "prompts.txt").write_text("\n".join(f"a fox {i}" for i in range(8)))
    folder, out = tmp_path / "study", tmp_path / "votes.jsonl"
    new = ("--against", "itself", "--prompts", tmp_path / "prompts.txt", "--pairs", 8, "--raters", 2, "--steps", 2)
    study("new", micro_lcm, *new, "--out", folder, "--device", "cpu")
    fill(open_study(folder), lambda rng: 1.0)
    study("export", folder, "--out", out)
    return out


def test_d3po_trains_on_a_study(votes: Path, micro_lcm: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in votes.read_text().splitlines()]
    assert [line["preferred"] for line in lines] == [0.0] * 16
    assert {line["steps"] for line in lines} == {2}
    assert [line["seed"] for line in lines] == [r.seed for r in read_records(open_study(tmp_path / "study"))]

    changes = [f"model.name={micro_lcm}", f"algorithm.votes={votes}", "model.steps=2", "training.steps=12", *SMALL]
    train("emoji-d3po", *changes, out=tmp_path / "run")
    log = [line for line in read_log(tmp_path / "run" / "metrics.jsonl") if "agrees" in line]
    assert len(log) == 12
    assert log[0]["agrees"] == pytest.approx(0.5)  # at first it is the model whose pictures were judged
    assert sum(line["agrees"] for line in log[-5:]) / 5 > 0.8
    assert sum(line["margin"] for line in log[-5:]) > 0


def test_a_training_that_would_draw_other_pictures_is_refused(votes: Path, micro_lcm: Path, tmp_path: Path) -> None:
    changes = [f"model.name={micro_lcm}", "model.steps=4", f"algorithm.votes={votes}", "training.steps=1", *SMALL]
    with pytest.raises(ValueError, match=r"saw pictures of steps 2, but model\.steps is 4.*Set model\.steps=2"):
        train("emoji-d3po", *changes, out=tmp_path / "run")

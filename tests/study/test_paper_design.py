"""The design of ROCM's Figure 3: 300 prompts, PartiPrompts and HPS 1 : 2, three questions, blind and balanced."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from kedge.cli.study import app
from kedge.evaluation.image_folder import write_image_folder
from kedge.prompts import load_prompts
from kedge.study.store import open_study

STYLES = ("anime", "concept-art", "paintings", "photo")


def cached(cache: Path, dataset: str, files: dict[str, str]) -> None:
    """A data set as the hub's own client keeps it after a download."""
    folder = cache / f"datasets--{dataset.replace('/', '--')}"
    for name, text in files.items():
        path = folder / "snapshots" / ("0" * 40) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PartiPrompts (1,632 rows) and HPSv2's benchmark (800 for each style) in the client's cache, offline."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    rows = "".join(f"parti {i}\tAnimals\tBasic\n" for i in range(1632))
    cached(tmp_path / "hub", "nateraw/parti-prompts", {"PartiPrompts.tsv": "Prompt\tCategory\tChallenge\n" + rows})
    hps = {f"benchmark/{style}.json": json.dumps([f"hps {style} {i}" for i in range(800)]) for style in STYLES}
    cached(tmp_path / "hub", "zhwang/HPDv2", hps)


def test_three_hundred_prompts_one_to_two(hub: None) -> None:
    prompts = load_prompts("partiprompts-hps-1-2")
    assert Counter(prompt.split()[0] for prompt in prompts) == {"parti": 100, "hps": 200}
    assert len(set(prompts)) == 300
    styles = Counter(prompt.split()[1] for prompt in prompts if prompt.startswith("hps"))
    assert min(styles[style] for style in STYLES) > 25
    assert prompts == load_prompts("partiprompts-hps-1-2")


def test_the_preset_makes_that_study(hub: None, tmp_path: Path) -> None:
    prompts = load_prompts("partiprompts-hps-1-2")
    for name, level in (("ours", 200), ("theirs", 50)):
        write_image_folder(tmp_path / name, np.full((300, 8, 8, 3), level, np.uint8), prompts)
    arguments = ["new", str(tmp_path / "ours"), "--against", str(tmp_path / "theirs"), "--preset", "paper"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "study")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    store = open_study(tmp_path / "study")
    assert [question.key for question in store.facts().questions] == ["preference", "appeal", "alignment"]
    assert {row["prompt"] for row in store.db.execute("SELECT prompt FROM pair")} == set(prompts)
    assert store.db.execute("SELECT count(*) FROM pair").fetchone()[0] == 300
    rows = store.db.execute(
        "SELECT rater, count(*) AS n, sum(swapped) AS swapped FROM showing GROUP BY rater"
    ).fetchall()
    assert [(row["n"], row["swapped"]) for row in rows] == [(300, 150)] * 10  # ten people, as in the paper

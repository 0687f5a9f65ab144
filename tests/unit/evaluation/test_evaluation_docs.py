"""The page on evaluation: its code runs, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from kedge.evaluation.image_statistics import STATISTICS
from kedge.evaluation.levels import TABLE
from kedge.evaluation.records import save_record
from kedge.evaluation.result import Evaluation

PAGE = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_the_python_example_runs(tmp_path, monkeypatch, capsys) -> None:
    run = tmp_path / "runs" / "my-run"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("reward: pickscore@emoji\n")
    rng = np.random.default_rng(0)
    prompts = tuple(f"prompt {i}" for i in range(30))
    for role, shift in (("base", 0.0), ("tuned", 1.0)):
        scores = {name: rng.normal(shift, 0.1, 30) for name in ("pickscore@emoji", "oracle")}
        save_record(run / "evaluation", Evaluation(role, prompts, 0, scores, {"brightness": rng.random(30)}), role)
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/evaluation.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "| PickScore |" in printed
    assert "Higher reward, and nobody to judge it: PickScore (trained on) rose" in printed
    assert (run / "report.html").exists()


def test_every_image_statistic_is_explained() -> None:
    for name in STATISTICS:
        assert f"| {name.replace('_', ' ')} |" in PAGE


def test_every_verdict_is_explained() -> None:
    for level in TABLE:
        assert f"| {level.sign} **{level.title}** (`{level.name}`) | {level.rule} | {level.advice} |" in PAGE

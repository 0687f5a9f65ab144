"""What the frontier's advice is worth: the truth judges the advice, and has no part in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bench import advice
from docs import advice_table

from kedge.config import dump, load_config
from kedge.evaluation.result import Evaluation

PROMPTS = tuple(f"prompt {i}" for i in range(20))
TRUTH, JUDGE, TRAINED = "oracle", "imagereward@emoji", "pickscore@emoji"


def run_folder(home: Path, truth: tuple[float, float, float]) -> Path:
    """A run that its judge likes best at step 10, and whose truth is as given, at steps 0, 10 and 30."""
    base, rng = np.linspace(-1, 1, len(PROMPTS)), np.random.default_rng(0)
    base = base / base.std(ddof=1)
    (home / "watched").mkdir(parents=True)
    (home / "config.yaml").write_text(dump(load_config("emoji-rocm")), encoding="utf-8")
    for step, judged, true in zip((0, 10, 20, 30), (0.0, 1.0, 0.5, -1.0), (*truth[:2], 0.0, truth[2]), strict=True):
        noise = 0.01 * rng.standard_normal(len(PROMPTS)) if step else 0.0
        scores = {TRAINED: base + step, JUDGE: base + judged, TRUTH: base + true + noise}
        facts = {"samples_per_prompt": 1}
        Evaluation("run", PROMPTS, 0, scores, facts=facts).save(home / "watched" / f"step-{step:08d}.json")
    return home


def test_the_truth_says_what_the_judges_choice_is_worth_and_does_not_choose(tmp_path: Path) -> None:
    good = advice.measured(run_folder(tmp_path / "good", (0.0, 0.5, -0.5)), draw=False)
    bad = advice.measured(run_folder(tmp_path / "bad", (0.0, -0.5, 0.5)), draw=False)
    assert good["step"] == bad["step"] == 10
    assert good["judges"] == bad["judges"] == [JUDGE]
    for known, gained, end in ((good, 1.0, -0.5), (bad, -1.0, 0.5)):
        value, low, high = known["gained"]
        assert value == pytest.approx(gained, abs=0.02)
        assert low < value < high
        assert known["at the end"][0] == pytest.approx(end, abs=0.02)


def test_a_table_tells_runs_of_one_kind_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And runs that no strength was drawn of count among those of the steps alone."""
    runs = {}
    for name, truth in (("good", (0.0, 0.5, -0.5)), ("bad", (0.0, -0.5, 0.5))):
        runs[name] = advice.measured(run_folder(tmp_path / name, truth), draw=False)
    runs["good"] |= {"strength": 0.5, "gained by strength": [0.25, 0.1, 0.4]}
    monkeypatch.setattr(advice_table, "RECORD", tmp_path / "advice.json")
    advice_table.RECORD.write_text(json.dumps(runs))
    text = advice_table.table()
    assert "| 30 | 10 |" in text
    assert "at the advised step at least as high as at the end in 1 of 2 runs, lower beyond chance in 1" in text
    assert "at the advised strength at least as high as at the end in 1 of 1 runs, lower beyond chance in 0" in text
    assert "+0.25 (1 of 1 not below 0)" in text


def test_a_run_that_did_not_watch_the_truth_is_refused(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", (0.0, 0.5, -0.5))
    for path in (run / "watched").iterdir():
        known = json.loads(path.read_text())
        del known["scores"][TRUTH]
        path.write_text(json.dumps(known))
    with pytest.raises(ValueError, match="did not watch the truth"):
        advice.measured(run, draw=False)

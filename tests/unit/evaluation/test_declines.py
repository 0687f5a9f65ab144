"""The pictures that show what a model has lost: those that show it most, and none where nothing was lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from kedge.evaluation.comparison import compare
from kedge.evaluation.declines import jury_change, shown_declines
from kedge.evaluation.diversity import BETWEEN, WITHIN
from kedge.evaluation.guard import JURY, Verdict, judge_comparison
from kedge.evaluation.records import evaluation_folder, save_record
from kedge.evaluation.report import write_report
from kedge.evaluation.result import Evaluation

TRAINED, JUDGE = "pickscore@emoji", "imagereward@emoji"
PROMPTS = tuple(f"prompt {i // 2}" for i in range(60))
KEPT = 12


def pair(*, judge: float, remaining: float) -> tuple[Evaluation, Evaluation]:
    """Tuned and base: the judge falls most on odd samples, variety most on the first prompts."""
    rng = np.random.default_rng(0)
    score, spread, slope = rng.normal(0, 1, 60), 0.5 + 0.001 * rng.random(60), np.repeat(np.arange(30), 2) / 30
    images = rng.integers(0, 255, (KEPT, 8, 8, 3), dtype=np.uint8)
    ours = {TRAINED: score + 2, JUDGE: score + judge * (1 + np.arange(60) % 2) + rng.normal(0, 0.1, 60)}
    lost = {WITHIN: spread * (remaining + 0.1 * slope), BETWEEN: spread * remaining}
    base = Evaluation("base", PROMPTS, 0, {TRAINED: score, JUDGE: score}, {WITHIN: spread, BETWEEN: spread}, images)
    return Evaluation("tuned", PROMPTS, 0, ours, lost, images), base


def verdict(tuned: Evaluation, base: Evaluation) -> Verdict:
    return judge_comparison(compare(tuned, base), [TRAINED])


def test_the_groups_show_each_loss_where_it_is_worst() -> None:
    tuned, base = pair(judge=-1.0, remaining=0.3)
    groups = shown_declines(verdict(tuned, base), tuned, base)
    assert list(groups) == [JURY, WITHIN, BETWEEN]
    change = jury_change([JUDGE], tuned, base)
    (worst,), *others = groups[JURY]
    assert worst == int(np.argmin(change[:KEPT]))
    assert all(i % 2 == 1 for (i,) in groups[JURY])
    assert len(others) == 5
    assert groups[WITHIN][0] == [0, 1]  # both pictures of the prompt that lost most
    assert groups[BETWEEN] == [[0, 2, 4, 6, 8, 10]]  # one of each prompt


def test_nothing_is_shown_where_nothing_was_lost_or_kept() -> None:
    tuned, base = pair(judge=0.5, remaining=0.95)
    assert not verdict(tuned, base).lost
    assert shown_declines(verdict(tuned, base), tuned, base) == {}
    tuned, base = pair(judge=-1.0, remaining=0.3)
    bare = [Evaluation(e.name, e.prompts, 0, e.scores, e.statistics) for e in (tuned, base)]
    assert shown_declines(verdict(tuned, base), *bare) == {}


@pytest.mark.parametrize(
    ("judge", "remaining", "sections"), [(-1.0, 0.3, 3), (-1.0, 0.95, 1), (0.5, 0.3, 2), (0.5, 0.95, 0)]
)
def test_the_report_shows_them(judge: float, remaining: float, sections: int, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": "emoji-lcm", "reward": TRAINED}))
    for evaluation in pair(judge=judge, remaining=remaining):
        save_record(evaluation_folder(tmp_path), evaluation)
    page = write_report(tmp_path).read_text()
    titles = ("Pictures that the judges mark down most", "One prompt, several noises", "Other prompts: more alike")
    assert sum(title in page for title in titles) == sections
    assert ("<h2>What was lost</h2>" in page) == (sections > 0)
    assert 'alt="tuned: prompt 0"' in page

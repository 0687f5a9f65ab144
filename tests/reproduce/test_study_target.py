"""Figure 3: trained models meet in a study of their own, raters vote over HTTP, and what they said is drawn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kedge.study import open_study
from kedge.study.records import read_records
from kedge_papers.runner.command_call import CommandCall
from kedge_papers.runner.experiment_set import load_experiment_set
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.targets import rocm_study


@pytest.fixture
def call(tmp_path, monkeypatch) -> CommandCall:
    """One reward, our KL against RLCM, as little training as there can be."""
    monkeypatch.setattr(rocm_study, "PARTS", {"d": ("aesthetic", ("pickscore",))})
    experiments = load_experiment_set("emoji")
    experiments = replace(
        experiments,
        rewards={name: experiments.rewards[name] for name in ("pickscore", "aesthetic")},
        methods={name: experiments.methods[name] for name in ("kl", "rlcm")},
    )
    few = {"training.batch_size": 2, "training.accumulation": 1, "training.device": "cpu"}
    options = MatrixOptions(experiments, budget=1, count=4, overrides=few)
    return CommandCall("fig3", options, tmp_path)


def test_the_best_of_ours_meets_rlcm_and_raters_decide(call, tmp_path):
    assert rocm_study.best(call.options, call.matrix, "aesthetic") is None  # nothing is trained yet
    call.matrix.go(lambda _: None)
    chosen = rocm_study.best(call.options, call.matrix, "aesthetic")
    assert chosen is not None
    assert chosen.name == "kl--aesthetic--0"

    written = {path.suffix for path in call.finish()}
    assert written == {".md", ".csv", ".tex", ".png", ".svg"}
    rows = [line for line in (tmp_path / "fig3/fig3.md").read_text().splitlines() if "(KL-Divergence)" in line]
    assert [row.split(": ")[1].split(" (")[0] for row in rows] == [
        "General preference",
        "Visual appeal",
        "Prompt alignment",
    ]

    store = open_study(tmp_path / "fig3" / "study-aesthetic")
    votes = read_records(store)
    store.close()
    assert votes
    call.finish()  # all have voted already
    again = open_study(tmp_path / "fig3" / "study-aesthetic")
    assert read_records(again) == votes
    again.close()

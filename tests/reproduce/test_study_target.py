"""Figure 3: trained models meet in a study of their own, raters vote over HTTP, and what they said is drawn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kedge.study import open_study
from kedge.study.records import read_records
from kedge_papers.runner.command_call import Order
from kedge_papers.runner.experiment_set import load_world
from kedge_papers.runner.options import Settings
from kedge_papers.targets import rocm_study


@pytest.fixture
def order(tmp_path, monkeypatch) -> Order:
    """One reward, our KL against RLCM, as little training as there can be."""
    monkeypatch.setattr(rocm_study, "PARTS", {"d": ("aesthetic", ("pickscore",))})
    world = load_world("emoji")
    world = replace(
        world,
        rewards={name: world.rewards[name] for name in ("pickscore", "aesthetic")},
        methods={name: world.methods[name] for name in ("kl", "rlcm")},
    )
    few = {"training.batch_size": 2, "training.accumulation": 1, "training.device": "cpu"}
    settings = Settings(world, budget=1, count=4, overrides=few)
    return Order("fig3", settings, tmp_path)


def test_the_best_of_ours_meets_rlcm_and_raters_decide(order, tmp_path):
    assert rocm_study.best(order.settings, order.matrix, "aesthetic") is None  # nothing is trained yet
    order.matrix.go(lambda _: None)
    chosen = rocm_study.best(order.settings, order.matrix, "aesthetic")
    assert chosen is not None
    assert chosen.name == "kl--aesthetic--0"

    written = {path.suffix for path in order.finish()}
    assert written == {".json", ".md", ".csv", ".tex", ".png", ".svg"}
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
    order.finish()  # all have voted already
    again = open_study(tmp_path / "fig3" / "study-aesthetic")
    assert read_records(again) == votes
    again.close()

"""What ships is what was measured: a page's command makes the page's runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.invented_records import EMOJI
from kedge.config.loading import plain
from kedge_papers import TARGETS
from kedge_papers.records.run_record import plain_json
from kedge_papers.records.store import RecordStore
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.targets.tuning_grid import as_overrides, tuned

RECORDS = RecordStore(Path(__file__).parents[2] / "docs/results/records/world-2").results()
KEPT_PRESETS = {"kl", "fisher"}  # not meant so, docs/reproduce.md
PARTS = ("optimizer", "training", "algorithm", "model", "reward", "prompts")


def test_the_experiment_set_has_what_tuning_chose() -> None:
    chosen = as_overrides(tuned(RECORDS["tuning"]))
    expected = {}
    for reward, by_method in chosen.items():
        others = {method: overrides for method, overrides in by_method.items() if method not in KEPT_PRESETS}
        if others:
            expected[reward] = others
    assert expected == EMOJI.tuned


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_the_command_of_a_page_makes_its_runs(name: str) -> None:
    recorded = RECORDS[name]
    options = MatrixOptions(EMOJI, seeds=recorded.facts["seeds"], budget=recorded.facts["budget"])
    planned = {run.name: run for run in TARGETS.get(name).runs(options)}
    for record in recorded.runs:
        if record.trained:
            assert record.name in planned
            config = plain_json(plain(planned[record.name].config()))  # records are rounded
            for part in PARTS:
                assert record.config[part] == config[part], f"{record.name}: {part}"

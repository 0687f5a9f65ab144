"""The page on what was wrong: every defect has a test that exists; and those that had none elsewhere."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from docs.last_step_table import table as last_step_table
from docs.result_pages import INDEX_END, INDEX_START, Published, with_index

from helpers.invented_records import record, result
from kedge.divergences import quadrature
from kedge.worlds.emoji.atlas import ASSETS
from kedge_papers import TARGETS
from kedge_papers.runner.experiment_set import load_experiment_set
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.targets.ablations import _latents

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
DEFECTS = [f"{part}{number}" for part, count in (("A", 10), ("B", 9), ("C", 9)) for number in range(1, count + 1)]


@pytest.mark.parametrize("defect", [*DEFECTS, "found since"])
def test_every_defect_names_tests_that_exist(defect):
    since = PAGE.partition("## Found since")[2].splitlines()[4:]
    rows = since if defect == "found since" else re.findall(rf"^\| {defect} \|.*$", PAGE, re.MULTILINE)
    assert len(rows) == (len(since) if defect == "found since" else 1)
    for row in rows:
        tests = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        assert tests, row
        for file, name in tests:
            assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{file}::{name}"


def test_the_page_names_the_quadrature_that_is_used():
    """Equally spaced nodes of equal weight but for the density: the trapezoidal rule, and no Gauss–Hermite."""
    import torch

    from kedge.divergences import _grid

    nodes, weights = _grid(torch.device("cpu"))
    assert torch.diff(nodes[:, 0]).std() < 1e-12
    torch.testing.assert_close(weights / weights.max(), torch.exp(-(nodes[:, 0] ** 2) / 2))
    page = (ROOT / "docs" / "algorithms" / "rocm.md").read_text(encoding="utf-8")
    assert "trapezoidal" in page
    assert "Hermite" not in page
    assert float(quadrature(torch.exp, torch.tensor([1.0]))) == pytest.approx(1)  # E_q r = 1


def test_the_page_says_what_policy_gradients_do_not_see():
    """The last step draws nothing, so no log-probability sees it: said, with its measured share, and what adds it."""
    page = (ROOT / "docs" / "algorithms" / "ppo.md").read_text(encoding="utf-8")
    section = page.partition("\n## What policy gradients do not see\n")[2].partition("\n## ")[0]
    prose = " ".join(section.split())
    assert "The last step is deterministic: x_0 = f_θ(x_1)." in prose
    assert "has no log-probability, so its part of the gradient is missing here" in prose
    assert last_step_table() in section, "run `make docs`"
    assert "[`last_step: pathwise`](distance.md#the-last-step-of-policy-gradients) adds the missing part" in prose


def curve(level: float) -> dict[str, list[float]]:
    """A hundred steps of eight queries; the reward rises at a constant rate."""
    steps = np.arange(1, 101)
    rewards = (level * steps / 100).tolist()
    return {"step": steps.tolist(), "queries": (8.0 * steps).tolist(), "seconds": steps.tolist(), "reward": rewards}


@pytest.mark.parametrize("seeds", [1, 3])
def test_factors_of_rlcms_figures_have_intervals_over_seeds(seeds):
    runs = [record("base-consistency-aesthetic", None, {"aesthetic@emoji": np.linspace(0, 3, 20)})]
    for seed in range(seeds):
        runs.append(record("aesthetic-rlcm", seed, curve=curve(4.0 + seed)))
        runs.append(record("aesthetic-ddpo", seed, curve=curve(2.0)))
    table = TARGETS.get("rlcm-fig4").show(result(runs, "rlcm-fig4")).tables[0]
    rise, *_, ratio = dict(table.rows)["aesthetic"]
    ends = (81 + 100) / 2 - 1  # the mean of the last 20 of 100 steps, above the first
    assert rise.interval.value == pytest.approx(np.mean([4.0 + seed for seed in range(seeds)]) * ends / 100)
    assert ratio.interval.value > 1
    assert np.isfinite(ratio.interval.half_width) == (seeds > 1)
    assert ratio.bold == (seeds > 1)
    assert ("One seed: nothing here tells the methods apart." in table.note) == (seeds == 1)
    assert "means of 160 queries" in table.note  # of 800, and as many for both methods


def test_running_means_are_of_as_many_queries_for_both_methods():
    """160 queries are 20 steps of 8 and 10 of 16: windows of as many steps would smooth one method twice as much."""
    runs = [record("base-consistency-aesthetic", None, {"aesthetic@emoji": np.linspace(0, 3, 20)})]
    runs.append(record("aesthetic-rlcm", 0, curve=curve(4.0)))
    runs.append(replace(record("aesthetic-ddpo", 0, curve=curve(4.0)), queries=16.0))
    rlcm, ddpo, *_ = dict(TARGETS.get("rlcm-fig4").show(result(runs, "rlcm-fig4")).tables[0].rows)["aesthetic"]
    assert rlcm.interval.value == pytest.approx(4 * (81 + 100) / 200 - 0.04)
    assert ddpo.interval.value == pytest.approx(4 * (91 + 100) / 200 - 0.04)


def test_the_number_of_latent_dimensions_is_the_models():
    (run, *_) = [each for each in TARGETS.get("js").runs(MatrixOptions(load_experiment_set("emoji"))) if each.train]
    network = json.loads((ASSETS / "emoji-lcm" / "unet" / "config.json").read_text(encoding="utf-8"))
    assert _latents(run) == (network["in_channels"] * network["sample_size"] ** 2, run.config().model.steps - 1)


def test_the_index_shows_the_range_of_budgets():
    """8,458 passes were the mean over methods: no run's budget."""
    first, second = record("a", 0), replace(record("b", 0), passes=20.0)
    second = replace(second, curve={"step": [1, 50], "queries": [8.0, 800.0]})
    index = with_index(f"{INDEX_START}{INDEX_END}", {"fig5": Published(result([first, second], "fig5"), "World 7")})
    assert "| 500–1,000 passes |" in index
    second = replace(second, curve=first.curve)
    index = with_index(f"{INDEX_START}{INDEX_END}", {"fig5": Published(result([first, second], "fig5"), "World 7")})
    assert "| 400 queries |" in index


@pytest.mark.parametrize("name", ["ways", "batches"])
def test_measured_tables_of_speed_are_what_their_records_say(name):
    """Seconds a picture, peak and speed-up of every row, on the record's own page and on the page on speed."""
    results = ROOT / "docs" / "results"
    rows = json.loads((results / f"sd15-cpu-64px-{name}.json").read_text(encoding="utf-8"))["rows"]
    loops = {row["batch"]: row["seconds"] for row in rows if row["way"] == "straightforward"}
    pages = [(results / f"{page}.md").read_text(encoding="utf-8") for page in (f"sd15-cpu-64px-{name}", "speed")]
    for row in rows:
        batch, seconds = row["batch"], row["seconds"]
        figures = f"| {seconds / batch:.2f} | {loops[batch] / seconds:.2f}× as fast | {row['peak'] / 1e9:.2f} ("
        for page in pages:
            assert [line for line in page.splitlines() if line.startswith(f"| {batch} |") and figures in line], figures

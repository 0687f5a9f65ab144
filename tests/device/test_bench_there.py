"""The benchmarks on narrow models: they run there; against the straightforward loop the gradients are equal."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from bench import gpu, gpu_cases, gpu_page, gpu_step, sd15, ways
from bench.gpu_step import Setting

pytestmark = pytest.mark.gpu


@pytest.mark.slow
def test_every_way_runs_there(device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sd15, "STEPS", 3)
    setting = sd15.Setting(str(device), 64, 1, "bfloat16", "brightness", repeats=1, scale=0.02)
    rows = [sd15.measure(way, setting, str(tmp_path)) for way in sd15.WAYS if way not in sd15.SLOW_TO_START]
    assert all(row.seconds > 0 and row.peak > 0 for row in rows)
    apart = ways.differences(rows)
    assert len(apart) == sum(row.gradient is not None for row in rows) - 1
    assert max(apart.values()) < 0.05  # bfloat16 rounds at 0.004


CASES = [gpu_cases.PARTS[part][0] for part in ("8gb", "flow")]


@pytest.mark.parametrize(
    "case", [pytest.param(CASES[0], marks=pytest.mark.slow), *CASES[1:]], ids=lambda case: case.key
)
def test_what_waits_for_a_gpu_runs_there(
    device: torch.device, case: gpu_cases.Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_step, "STEPS", 1)
    row = gpu.row(case, Setting(str(device), scale=0.05))
    assert "error" not in row, row
    assert row["seconds"] > 0
    assert row["flops"] > 0
    assert row["planned_peak"] > 0
    assert math.isfinite(row["gradient_norm"])
    page = gpu_page.page_of({"hardware": "a card", "scale": 0.05, "versions": {}, "rows": {case.key: row}})
    assert f"| {case.name} | {case.batch} |" in page

"""The benchmark against the straightforward loop, on a narrow model: it runs there, and the gradients are equal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bench import sd15

pytestmark = pytest.mark.gpu


def test_every_way_runs_there(device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sd15, "STEPS", 3)
    setting = sd15.Setting(str(device), 64, 1, "bfloat16", "brightness", repeats=1, scale=0.02)
    rows = [sd15.measure(way, setting, str(tmp_path)) for way in sd15.WAYS if way not in sd15.SLOW_TO_START]
    assert all(row.seconds > 0 and row.peak > 0 for row in rows)
    apart = sd15.differences(rows)
    assert len(apart) == sum(row.gradient is not None for row in rows) - 1
    assert max(apart.values()) < 0.05  # bfloat16 rounds at 0.004

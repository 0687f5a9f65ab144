"""The flow transformer's benchmark at a tiny size: Kedge has the gradient of the loop from diffusers' parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import flow, ways


def test_kedge_has_the_gradient_of_the_straightforward_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And every way takes its steps; how fast they are is another machine's question."""
    monkeypatch.setattr(flow, "STEPS", 3)
    setting = flow.Setting(pixels=32, depth=0.1, width=0.03)
    rows = [flow.measure(way, setting, str(tmp_path)) for way in flow.WAYS]
    assert all(row.seconds > 0 for row in rows)
    apart = ways.differences(rows)
    assert list(apart) == ["plain, 1"]
    assert 0 < apart["plain, 1"] < 1e-5
    page = flow.report(setting, rows, apart, layers=(2, 24), machine="here")
    assert page.count("× as fast") == len(flow.WAYS)

"""The notebook runs from its first cell to its last, as a reader would run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parents[1] / "examples" / "first.ipynb"


def cells(kind: str) -> list[str]:
    data = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (data["nbformat"], data["nbformat_minor"]) == (4, 5)
    return ["".join(cell["source"]) for cell in data["cells"] if cell["cell_type"] == kind]


def test_every_cell_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {"__name__": "notebook"}
    for number, text in enumerate(cells("code")):
        text = text.replace("STEPS = 20", "STEPS = 1")  # the tests have no minutes
        exec(compile(text, f"cell {number}", "exec"), scope)
    said = capsys.readouterr().out
    assert "reward queries" in said
    assert "Oracle" in said
    for name in ("tuned.png", "base.png", "report.html", "lora/pytorch_lora_weights.safetensors"):
        assert (tmp_path / "runs" / "notebook" / name).stat().st_size > 500


def test_no_output_is_kept_and_every_cell_is_explained():
    data = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert all(not cell.get("outputs") for cell in data["cells"])
    assert len(cells("markdown")) >= 5

"""What ``kedge push`` would send; the sending itself needs a hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from kedge.workflows.push import files_to_push


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The files of a run, as far as their names matter."""
    names = (
        "config.yaml",
        "README.md",
        "metrics.jsonl",
        "checkpoints/step-000002/state.pt",
        "lora/comfyui.safetensors",
    )
    for name in (*names, "samples/step-000000.png", "samples/step-000001.png", "samples/step-000002.png"):
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "run"


def test_the_adapter_and_what_explains_it_are_sent_and_nothing_else(run):
    names = set(files_to_push(run, "me/fox-lcm"))
    assert names == {
        *("config.yaml", "README.md", "comfyui.safetensors"),
        *("samples/step-000000.png", "samples/step-000002.png"),
    }


def test_what_cannot_be_sent_is_refused_with_what_to_do(run, tmp_path):
    with pytest.raises(ValueError, match="'fox' is no name of a repository: write OWNER/NAME"):
        files_to_push(run, "fox")
    with pytest.raises(ValueError, match="is not a run folder"):
        files_to_push(tmp_path, "me/fox")
    (run / "lora" / "comfyui.safetensors").unlink()
    with pytest.raises(ValueError, match="has no adapter yet: kedge export"):
        files_to_push(run, "me/fox")

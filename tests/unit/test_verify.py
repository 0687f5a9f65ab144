"""``kedge verify``: one file that tells what a model took, or where it failed."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from kedge.cli.app import app
from kedge.config import ConfigError
from kedge.workflows.verify import verify

SMALL = ("model.steps=2", "model.lora.rank=2")


def test_one_file_says_what_a_model_took_against_its_plan(tmp_path: Path) -> None:
    out = tmp_path / "sub" / "mine.json"
    command = ["verify", "emoji-lcm", *SMALL, "--steps", "2", "--device", "cpu", "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "everything ran" in done.output
    assert "peak memory: " in done.output
    facts = json.loads(out.read_text())
    measured, plan = facts["measured"], facts["plan"]
    assert facts["model"]["name"] == "emoji-lcm"
    assert (measured["steps"], measured["skipped"], len(measured["rewards"])) == (2, 0, 2)
    assert measured["adapter_moved"] > 0
    assert measured["seconds_a_step"] > 0
    assert "pytorch_lora_weights.safetensors" in measured["exported"]
    assert plan["peak_memory_mb"] > 100
    assert f"(planned: {plan['peak_memory_mb']:.0f} MB)" in done.output
    assert facts["environment"]["packages"]["torch"]
    with Image.open(io.BytesIO(base64.b64decode(facts["picture"].partition(",")[2]))) as picture:
        assert min(picture.size) > 32
    assert str(tmp_path) not in out.read_text()


def test_a_model_that_fails_is_told_in_the_file(tmp_path: Path) -> None:
    """Weights that are cut short, of a model whose folder is otherwise right."""
    import shutil

    from kedge.models import resolve_model

    folder = shutil.copytree(resolve_model("emoji-lcm"), tmp_path / "broken")
    next((folder / "unet").glob("*.safetensors")).write_bytes(b"short")
    vae = f"model.vae={folder / 'vae'}"
    outcome = verify(str(folder), overrides=[*SMALL, vae], steps=1, device="cpu")
    assert outcome.facts["model"]["vae"] == "vae"
    assert not outcome.whole
    assert outcome.facts["model"]["name"] == "broken"
    assert "did not come to an end" in str(outcome)
    assert outcome.facts["plan"]["trained"] > 0
    assert "load" in outcome.facts["error"]["traceback"]
    assert str(Path(__file__).parents[2]) not in outcome.facts["error"]["traceback"]
    for text in outcome.facts["error"].values():
        assert str(folder.parent) not in text  # nor the folder of the user's customer
        assert "broken" in text


def test_a_folder_that_is_named_by_mistake_is_not_replaced(tmp_path: Path) -> None:
    """It was removed, with everything in it."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    done = CliRunner().invoke(app, ["verify", "emoji-lcm", "--steps", "1", "--out", str(tmp_path / "precious")])
    assert "precious is a folder: name a file in it" in str(done.exception)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years of work"


def test_a_recipe_that_cannot_be_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"model\.stepss"):
        verify("emoji-lcm", overrides=["model.stepss=3"])

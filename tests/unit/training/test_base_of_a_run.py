"""A run knows the base it was trained on: every way to use its adapter on another one is refused by name."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open

from helpers.training_world import recipe
from kedge.cli.run import main
from kedge.config import parse_config
from kedge.policies.fingerprint import BEFORE_RECORDS, KNOWN, Fingerprint, OtherBaseError, fingerprint
from kedge.runs.checkpoint import CheckpointStore
from kedge.training.run import train
from kedge.workflows.load_run import load_run

OLD_RUN = Path(__file__).parents[2] / "old_runs" / "before-fingerprints"
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def model(micro_lcm: Path, tmp_path: Path) -> Path:
    """A model of this test's own."""
    return Path(shutil.copytree(micro_lcm, tmp_path / "model"))


@pytest.fixture
def run(model: Path, tmp_path: Path) -> Path:
    """A run of two steps on it."""
    lora = {"rank": 2, "targets": ["to_q"]}
    block = {"name": str(model), "kind": "lcm", "steps": 2, "guidance": 1.0, "lora": lora}
    changes = {"model": block, "training__steps": 2, "watch__held_out": {"source": "animals-45", "count": 2}}
    train(parse_config(recipe(**changes)), tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def kedge(tmp_path: Path, monkeypatch, capsys) -> Callable[..., str]:
    """The command in this process; what it said on standard error."""

    def call(*arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["kedge", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code
        return " ".join(capsys.readouterr().err.split())

    return call


def other_weights(model: Path) -> None:
    data = bytearray((model / UNET).read_bytes())
    data[-1] ^= 1
    (model / UNET).write_bytes(data)


def forget_base(run: Path) -> None:
    """Make a run one that does not say what it was trained on."""
    store = CheckpointStore(run / "checkpoints")
    newest = store.latest()
    assert newest is not None
    step, state = newest
    del state["base"]
    store.save(step, state)


def test_it_is_written_wherever_the_adapter_goes(run: Path, model: Path):
    base = fingerprint(str(model))
    assert base is not None
    assert json.loads((run / "env.json").read_text())["base"] == base.to_dict()
    newest = CheckpointStore(run / "checkpoints").latest()
    assert newest is not None
    assert newest[1]["base"] == base.to_dict()
    with safe_open(run / "lora" / "pytorch_lora_weights.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["kedge.base"]) == base.to_dict()
    with safe_open(run / "lora" / "comfyui.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["kedge.base"]) == base.to_dict()
    assert f"weights of {base}" in (run / "README.md").read_text()
    assert load_run(run).base == base


def test_every_use_on_another_base_is_refused(run: Path, model: Path, kedge):
    other_weights(model)
    uses = [
        ["train", "run", "--resume", "training.steps=3"],
        ["sample", "run", "--prompt", "a cat"],
        ["eval", "run", "--metrics", "helpers.training_world:redness"],
        ["compare", "run", "--metrics", "helpers.training_world:redness"],
        ["export", "run"],
        ["study", "new", "run", "--prompts", "animals-45"],
    ]
    for arguments in uses:
        message = kedge(*arguments)
        assert "was trained on" in message, arguments
        assert "Different: unet." in message, arguments
        assert "kedge train run --out" in message, arguments


def test_adapters_of_two_bases_are_not_stacked(run: Path, model: Path, tmp_path: Path, kedge):
    """Lightning and Hyper-SD both call themselves SDXL: the name of the model is not its weights."""
    unet = Path(shutil.copytree(model / "unet", tmp_path / "unet"))
    data = bytearray((tmp_path / UNET).read_bytes())
    data[-1] ^= 1
    (tmp_path / UNET).write_bytes(data)
    config = yaml.safe_load((run / "config.yaml").read_text())
    train(parse_config({**config, "model": {**config["model"], "unet": str(unet)}}), tmp_path / "other")
    message = kedge("export", "run", "--with", "other", "--out", "both")
    assert "on other weights an adapter does something else" in message
    assert not (tmp_path / "both").exists()


def test_the_models_folder_may_move(run: Path, model: Path):
    moved = model.rename(model.with_name("moved"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["name"] = str(moved)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert load_run(run).step == 2


def test_a_run_that_does_not_say_is_loaded_with_a_note(run: Path, model: Path, caplog):
    forget_base(run)
    other_weights(model)
    assert load_run(run).step == 2
    assert "does not record the base it was trained on" in caplog.text


def test_an_old_run_of_a_bundled_model(tmp_path: Path, caplog):
    """This one was written before runs knew their base, on the world of its time."""
    run = Path(shutil.copytree(OLD_RUN, tmp_path / "old"))
    present = fingerprint("emoji-lcm")
    assert present is not None
    if present.digest == BEFORE_RECORDS["emoji-lcm"]:
        tuned = load_run(run)
        assert (tuned.step, tuned.config.reward) == (2, "clipscore@emoji")
        assert f"it fits {present}" in caplog.text
    else:
        with pytest.raises(OtherBaseError, match="trained on emoji-lcm of world 1"):
            load_run(run)


def test_an_old_run_of_a_world_that_is_gone_is_refused(tmp_path: Path, monkeypatch):
    run = Path(shutil.copytree(OLD_RUN, tmp_path / "old"))
    gone = Fingerprint("emoji-lcm", "d" * 64)
    monkeypatch.setitem(BEFORE_RECORDS, "emoji-lcm", gone.digest)
    monkeypatch.setitem(KNOWN, gone.digest, "emoji-lcm of world 0")
    with pytest.raises(OtherBaseError, match=r"trained on emoji-lcm of world 0 \(dddddddd\)"):
        load_run(run)

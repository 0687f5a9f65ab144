"""What lies around: a current folder with modules of Python's names, a picture without an ending, signals."""

from __future__ import annotations

import errno
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from helpers.processes import environment
from helpers.training_world import recipe
from kedge.cli.app import app
from kedge.cli.matrix import go
from kedge.cli.run import explain
from kedge.cli.tables import table_format
from kedge.config import parse_config
from kedge.files import DiskFullError
from kedge.training.interrupt import StopOnSignal
from kedge.training.run import train
from kedge.workflows.runner.matrix import Matrix
from kedge.workflows.runner.runs import Run
from kedge.workflows.sample import picture_path, sample
from kedge.workflows.train import TrainingInterrupted


def test_files_of_the_current_folder_do_not_take_the_place_of_pythons(tmp_path: Path):
    for name in ("statistics", "yaml", "csv", "http", "pydantic"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('mine was run')")
    (tmp_path / "own_prompts.py").write_text("def prompts(): return ['a cat']")
    code = "import sys; sys.argv = ['kedge', 'prompts', 'own_prompts:prompts']; from kedge.cli import main; main()"
    command = [sys.executable, "-P", "-c", code]  # as the installed command: without the current folder
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200)
    assert (done.stdout, done.returncode) == ("a cat\n", 0), done.stderr


def test_a_picture_without_an_ending_is_refused_before_anything_is_drawn(tmp_path: Path):
    from typer.testing import CliRunner

    from kedge.cli.app import app

    result = CliRunner().invoke(
        app, ["sample", "no-such-model", "--prompt", "a cat", "--out", str(tmp_path / "picture")]
    )
    assert isinstance(result.exception, ValueError)
    assert "must end like a picture's, as in picture.png" in str(result.exception)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_in_another_encoding_shows_what_it_can(encoding: str):
    command = [sys.executable, "-m", "kedge", "presets"]
    done = subprocess.run(
        command, env=environment() | {"PYTHONIOENCODING": encoding}, capture_output=True, timeout=200, check=True
    )
    assert "emoji-rocm" in done.stdout.decode(encoding)
    assert done.stderr == b""


def test_a_current_folder_that_is_gone_is_said(tmp_path: Path):
    code = "import os, sys; os.rmdir(os.getcwd()); sys.argv = ['kedge', 'presets']; from kedge.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 1
    assert done.stderr == "kedge: the current folder is not there any more: change to one that is\n"


def test_a_picture_or_table_that_cannot_be_written_is_refused_before_anything_is_drawn(tmp_path: Path):
    (tmp_path / "file").touch()
    for kind in ("png", "csv"):
        out = tmp_path / "file" / f"x.{kind}"
        with pytest.raises(ValueError, match="file is a file"):
            table_format(None, out) if kind == "csv" else picture_path(out)


def test_half_a_character_is_no_prompt():
    with pytest.raises(ValueError, match=r"--prompt, prompt 2: .* holds half a character"):
        sample("emoji-lcm", ["a cat", "a \ud83e fox"])


def test_signals_end_with_the_code_that_shells_know(monkeypatch):
    from kedge.cli.interrupt import interruptible

    for name, code in {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}.items():
        with pytest.raises(Exception, match=str(code)) as ended, interruptible():
            raise TrainingInterrupted("stopped", name)
        assert ended.value.exit_code == code


def test_a_matrix_that_a_signal_ends_has_its_code_too(tmp_path: Path):
    """One run after the other, in the command's own process."""
    for name, code in {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}.items():
        climb = {"name": "helpers.training_world:Climb", "interrupt": 1, "signal": name}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(recipe(training__steps=9, algorithm=climb)))
        run = Run(name, str(tmp_path / f"{name}.yaml"))
        outside = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup themselves
        with pytest.raises(Exception, match=str(code)) as ended:
            go(Matrix((run,), tmp_path))
        signal.signal(signal.SIGHUP, outside)
        assert ended.value.exit_code == code


@pytest.mark.parametrize("rank", ["0", "1"])
def test_of_several_processes_the_first_one_warns(tmp_path: Path, rank: str):
    overlap = ["prompts=emoji-activities-train", "watch.held_out.source=emoji-activities-train"]
    done = subprocess.run(
        [sys.executable, "-m", "kedge", "train", "emoji-rocm", *overlap, "watch.held_out.count=24", "--dry-run"],
        env={**environment(), "RANK": rank},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    assert done.stderr.count("all prompts of watch.held_out are trained on") == int(rank == "0")
    assert bool(done.stdout) == (rank == "0")


def test_a_lost_terminal_saves_like_ctrl_c_and_nohup_stays(tmp_path: Path):
    outside = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup themselves
    climb = {"name": "helpers.training_world:Climb", "interrupt": 2, "signal": "SIGHUP"}
    outcome = train(parse_config(recipe(training__steps=50, algorithm=climb)), tmp_path / "run")
    assert (outcome.ended, outcome.reason, outcome.step, outcome.saved) == ("interrupted", "SIGHUP", 3, 3)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopOnSignal(print) as signals:
            signal.raise_signal(signal.SIGHUP)
        assert not signals.requested
    finally:
        signal.signal(signal.SIGHUP, outside)


def test_a_full_disk_is_told_in_one_line():
    code, text = explain(OSError(errno.ENOSPC, "No space left on device", "metrics.jsonl"))
    assert code == 1
    assert "the disk is full" in text
    assert "--resume" in text
    assert explain(DiskFullError("the disk of x is full"))[0] == 1


def test_exported_adapters_can_be_read_by_others(micro_lcm: Path, tmp_path: Path):
    lora = {"rank": 2, "targets": ["to_q"]}
    block = {"name": str(micro_lcm), "kind": "lcm", "steps": 2, "guidance": 1.0, "lora": lora}
    train(parse_config(recipe(model=block, training__steps=1)), tmp_path / "run")
    files = list((tmp_path / "run" / "lora").iterdir())
    plain = tmp_path / "plain"
    plain.touch()
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {stat.S_IMODE(plain.stat().st_mode)}
    assert all(file.suffix == ".safetensors" for file in files)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EROFS, "read-only"), (errno.EACCES, "may not write"), (errno.EPERM, "may not change")]
)
def test_a_place_that_is_closed_is_named_with_what_to_do(number: int, words: str):
    code, message = explain(OSError(number, "whatever the system says", "shut/run"))
    assert code == 2
    assert message.startswith("shut/run: ")
    assert words in message
    assert "--out" in message


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize(
    "command",
    [
        ["probe", "emoji-lcm", "--guidance"],
        ["random-model", "sdxl", "x", "--width"],
        ["study", "new", "x", "--guidance"],
    ],
)
def test_a_number_that_is_none_is_refused_before_anything_is_drawn(command: list[str], value: str):
    done = CliRunner().invoke(app, [*command, value])
    assert done.exit_code == 2
    assert f"{value} is no finite number" in done.output
    assert command[-1] in done.output

"""A run folder has one owner, who overwrites nobody's files and leaves nothing half written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.training_world import recipe
from kedge.config import parse_config
from kedge.evaluation.run_log import read_log
from kedge.files import locked, remove_drafts
from kedge.runs.ownership import LOCK, FolderTaken, owned
from kedge.training.loggers import JsonlLogger, RunFolderLost
from kedge.training.run import train

HOLD = """
import sys
from pathlib import Path
from kedge.runs.ownership import owned
with owned(Path(sys.argv[1]), resume=False) as mine:
    print("mine", flush=True)
    sys.stdin.readline()
"""


def test_a_folder_in_use_is_refused_whoever_asks(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "mine\n"
    for resume in (False, True):
        with pytest.raises(FolderTaken, match=f"in use .process {holder.pid} on "):
            train(parse_config(recipe()), tmp_path / "run", resume=resume)
    holder.kill()
    holder.wait()
    with owned(tmp_path / "run", resume=False) as folder:  # the lock died with its process
        assert not folder.used


def test_a_name_in_another_encoding_is_refused_before_anything_is_made(tmp_path):
    name = os.fsdecode(str(tmp_path).encode() + b"/l\xe4ufe")
    with pytest.raises(FolderTaken, match="not UTF-8"), owned(Path(name), resume=False):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_meanwhile_becomes_the_next_one(tmp_path):
    outcomes = [train(parse_config(recipe(training__steps=1)), tmp_path / "run", or_next=True) for _ in range(3)]
    assert [outcome.folder.name for outcome in outcomes] == ["run", "run-2", "run-3"]
    assert (tmp_path / "run-3" / "config.yaml").is_file()


def test_a_run_under_another_name_than_announced_says_so(tmp_path, caplog):
    for _ in range(2):
        train(parse_config(recipe(training__steps=1)), tmp_path / "run", or_next=True)
    assert [line.getMessage() for line in caplog.records if "meanwhile" in line.getMessage()] == [
        f"{tmp_path / 'run'} was taken meanwhile: this run is {tmp_path / 'run-2'}"
    ]


def test_a_run_that_is_at_its_end_says_so_when_it_is_to_go_on(tmp_path, caplog):
    config = parse_config(recipe(training__steps=2))
    train(config, tmp_path / "run")
    assert "already" not in caplog.text
    train(config, tmp_path / "run", resume=True)
    assert "is trained to its end already, step 2 of 2: training.steps=N" in caplog.text


@dataclass
class Away:
    """Moves the run's folder before step 3 is logged."""

    run: Path
    name = "away"

    def __call__(self, step, watched):
        if step == 3:
            self.run.rename(self.run.with_name("elsewhere"))
        return {}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_a_folder_that_is_renamed_while_it_trains_ends_the_run_and_goes_on_there(tmp_path):
    config = parse_config(recipe(training__steps=6, checkpoint__every=2))
    run = tmp_path / "run"
    with pytest.raises(RunFolderLost, match=r"removed or renamed .* before step 3 .*--resume"):
        train(config, run, callbacks=[Away(run)])
    assert not run.exists()
    assert train(config, tmp_path / "elsewhere", resume=True).step == 6
    assert [line["step"] for line in read_log(tmp_path / "elsewhere" / "metrics.jsonl")][-6:] == [1, 2, 3, 4, 5, 6]


def test_a_log_that_an_editor_saved_meanwhile_is_written_on(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    logger = JsonlLogger(path)
    logger.start(0)
    logger.log(1, {"loss": 1.0})
    (tmp_path / "copy").write_bytes(path.read_bytes())
    (tmp_path / "copy").replace(path)
    logger.log(2, {"loss": 2.0})
    logger.close()
    assert [line["step"] for line in read_log(path)] == [1, 2]
    assert "was replaced by another file" in caplog.text


def test_foreign_files_are_not_overwritten(tmp_path):
    (tmp_path / "README.md").write_text("# mine")
    (tmp_path / "metrics.jsonl").write_text('{"mine": 1}')
    with pytest.raises(FolderTaken, match=r"no run's .*README\.md, metrics\.jsonl"):
        train(parse_config(recipe()), tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "README.md": "# mine",
        "metrics.jsonl": '{"mine": 1}',
    }


def test_files_that_a_run_does_not_touch_are_no_obstacle(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert train(parse_config(recipe(training__steps=1)), tmp_path).step == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_run_that_fails_before_its_first_step_leaves_nothing(tmp_path):
    file = tmp_path.parent / f"{tmp_path.name}.py"
    file.write_text("def broken(images, prompts): raise ValueError('broken')")
    config = parse_config(recipe(watch__evaluate_every=1, watch__metrics=[f'"{file}:broken"']))
    with pytest.raises(ValueError, match="broken"):
        train(config, tmp_path / "runs" / "x")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="broken"):
        train(config, tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []


def test_drafts_of_killed_processes_go_and_others_stay(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "lora").mkdir()
    names = [f".x.safetensors.{gone.pid}", f".x.safetensors.{os.getpid()}", ".hidden", ".gitignore"]
    for name in names:
        (tmp_path / "lora" / name).write_text("")
    (tmp_path / f".step-1.{gone.pid}").mkdir()
    remove_drafts(tmp_path)
    assert sorted(path.name for path in (tmp_path / "lora").iterdir()) == sorted(names[1:])
    assert not (tmp_path / f".step-1.{gone.pid}").exists()


def test_a_lock_says_who_has_it(tmp_path):
    with locked(tmp_path / LOCK) as ours, locked(tmp_path / LOCK) as theirs:
        assert (ours, theirs) == (True, False)
        assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} on ")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting needs root")
def test_a_full_disk_says_so_and_leaves_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk]).returncode:
        pytest.skip("mounting is not allowed here")
    config = recipe(training__steps=40, checkpoint__every=1, checkpoint__keep=30, training__patience=40)
    try:
        with pytest.raises(OSError, match=r"the disk of .*checkpoints is full .*make room"):
            train(parse_config(config), disk / "run")
        checkpoints = disk / "run" / "checkpoints"
        assert not list(checkpoints.glob(".*"))
        shutil.rmtree(sorted(checkpoints.iterdir())[0])  # room for one more
        config["checkpoint"]["keep"] = 1
        assert train(parse_config(config), disk / "run", resume=True).step == 40
    finally:
        subprocess.run(["umount", disk], check=True)

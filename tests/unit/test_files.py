"""What is written is there whole or not at all."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kedge.files import alone, check_writable, locked, read_json, replacing, typed, write_text
from kedge.runs.checkpoint import CheckpointError
from kedge.workflows.doctor import examine
from kedge.workflows.load_run import load_run


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "x.json"
    with replacing(target) as draft:
        draft.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["x.json"]


def test_text_is_utf_8(tmp_path: Path) -> None:
    assert write_text(tmp_path / "x", "σ 🦊").read_bytes() == "σ 🦊".encode()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_block_that_fails_leaves_the_old_and_no_draft(tmp_path: Path, kind: str) -> None:
    def fail(target: Path) -> None:
        with replacing(target) as draft:
            if kind == "folder":
                draft.mkdir()
                (draft / "inner").write_text("half")
            else:
                draft.write_text("half")
            raise OSError("disk full")

    target = tmp_path / "x"
    target.write_text("old")
    with pytest.raises(OSError, match="disk full"):
        fail(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_never_replaces_a_folder(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mine.txt").write_text("mine")
    with pytest.raises(IsADirectoryError, match="name a file in it"):
        write_text(tmp_path / "results", "{}")
    assert [path.name for path in tmp_path.rglob("*")] == ["results", "mine.txt"]


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "x"
    for name in ("first", "second"):
        with replacing(target) as draft:
            draft.mkdir()
            (draft / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["second"]


def test_contents_reach_the_disk_before_the_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[tuple[str, str]] = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(handle: int) -> None:
        events.append(("sync", Path(os.readlink(f"/proc/self/fd/{handle}")).name))
        real_sync(handle)

    def replace(source: Path, target: Path) -> None:
        events.append(("rename", Path(target).name))
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    with replacing(tmp_path / "x") as draft:
        draft.mkdir()
        (draft / "a").write_text("a")
        (draft / "b").write_text("b")
    renamed = events.index(("rename", "x"))
    assert {name for _, name in events[:renamed]} == {"a", "b", draft.name}
    assert events[renamed + 1 :] == [("sync", tmp_path.name)]


def test_a_killed_writer_leaves_the_old_and_the_next_one_clears_up(tmp_path: Path) -> None:
    target = tmp_path / "x[1]"
    target.write_text("old")
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from kedge.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as draft:\n"
        "    draft.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(target)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / f".{target.name}.{os.getppid()}").write_text("another writer's, still alive")
    (tmp_path / f".{target.name}.backup").write_text("not a draft")
    write_text(target, "new")
    assert target.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f".{target.name}.{os.getppid()}", f".{target.name}.backup", target.name]
    )


def test_who_comes_second_waits_and_says_so_once(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr("kedge.files.POLL", 0.01)
    lock, order = tmp_path / ".lock", list[str]()

    def second() -> None:
        with alone(lock, "evaluating runs/my"):
            order.append("second")

    with alone(lock, "evaluating runs/my"):
        waiting = threading.Thread(target=second)
        waiting.start()
        while not caplog.records:
            pass
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
    (record,) = caplog.records
    assert f"another process ({os.getpid()} on" in record.getMessage()
    assert "is evaluating runs/my: waiting for it" in record.getMessage()


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path: Path, monkeypatch) -> None:
    def flock(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with locked(tmp_path / ".lock") as ours:
        assert ours


def test_what_cannot_be_written_is_told_before(tmp_path: Path, monkeypatch) -> None:
    check_writable(tmp_path / "new folder" / "ü.csv")
    assert list(tmp_path.iterdir()) == []  # nothing is made for the question
    with pytest.raises(ValueError, match="is a folder: name a file in it"):
        check_writable(tmp_path)
    (tmp_path / "file").touch()
    check_writable(tmp_path / "file")
    with pytest.raises(ValueError, match="file is a file"):
        check_writable(tmp_path / "file" / "x.csv")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere but on a read-only disk
    with pytest.raises(ValueError, match=r"x\.csv cannot be written: .* is read-only"):
        check_writable(tmp_path / "new folder" / "x.csv")


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff{}", b"[" * 100_000])
def test_damaged_json_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "my config.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"my config\.json is damaged, or no JSON"):
        read_json(file)
    file.write_bytes("\ufeff{}".encode())  # as some editors write it
    assert read_json(file) == {}


def test_a_path_in_a_command_can_be_typed_as_it_stands(tmp_path: Path) -> None:
    for name in ("plain", "Läufe 1", "a'b", "$HOME (2)"):
        assert shlex.split(f"kedge train {typed(tmp_path / name)} --resume")[2] == str(tmp_path / name)
    assert typed("runs/my") == "runs/my"


def test_advice_names_runs_so_that_it_can_be_typed(tmp_path: Path) -> None:
    (tmp_path / "Läufe 1").mkdir()
    (tmp_path / "Läufe 1" / "config.yaml").write_text("model: emoji-lcm\nreward: pickscore@emoji\n")
    with pytest.raises(CheckpointError) as refused:
        load_run(tmp_path / "Läufe 1")
    command = str(refused.value).partition("(")[2].rstrip(")")
    assert shlex.split(command) == ["kedge", "train", str(tmp_path / "Läufe 1"), "--resume"]


def test_rewards_that_need_a_server_have_nothing_to_download() -> None:
    rows = dict(examine()["Rewards"])
    assert rows["remote"] == "needs a server: kedge doctor remote"
    assert not any("1 MB to download" in state for state in rows.values())

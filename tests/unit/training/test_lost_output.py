"""Output that nobody can read any more ends no training: a closed terminal, a pipe whose reader has ended."""

from __future__ import annotations

import os
import pty
import signal

import pytest

from helpers.training_world import recipe
from kedge.config import parse_config
from kedge.training import assemble, lost_output
from kedge.training.interrupt import StopOnSignal
from kedge.training.lost_output import leave_lost_output, lost
from kedge.training.progress import Lines
from kedge.training.run import train


@pytest.fixture(params=["terminal", "pipe"])
def output(request):
    """Both ends, the one to read first; a test closes that one."""
    reader, writer = pty.openpty() if request.param == "terminal" else os.pipe()
    yield reader, writer
    os.close(writer)


def test_a_reader_that_is_gone_is_noticed_and_no_other(output, tmp_path):
    reader, writer = output
    assert not lost(writer)
    os.close(reader)
    assert lost(writer)
    with (tmp_path / "log").open("w") as file:
        assert not lost(file.fileno())


def test_only_lost_output_goes_to_nowhere(output, monkeypatch, tmp_path):
    reader, writer = output
    os.close(reader)
    with (tmp_path / "log").open("w") as file:
        monkeypatch.setattr(lost_output, "OUTPUT", (writer, file.fileno()))
        with pytest.raises(OSError, match=r"Input/output error|Broken pipe"):
            os.write(writer, b"nobody reads this")
        leave_lost_output()
        os.write(writer, b"nor this")
        os.write(file.fileno(), b"this")
    assert (tmp_path / "log").read_text() == "this"


def test_a_training_that_cannot_show_anything_goes_on_to_its_end(output, monkeypatch, tmp_path):
    reader, writer = output
    monkeypatch.setattr(lost_output, "OUTPUT", (writer,))
    out = os.fdopen(writer, "w", closefd=False)
    monkeypatch.setattr(assemble, "display", lambda: Lines(out, seconds=0.0))
    os.close(reader)
    assert train(parse_config(recipe(training__steps=3)), tmp_path / "run").ended == "finished"
    assert (tmp_path / "run" / "checkpoints" / "step-00000003").is_dir()


def test_a_closed_terminal_is_left_before_the_stop_is_announced(output, monkeypatch):
    reader, writer = output
    monkeypatch.setattr(lost_output, "OUTPUT", (writer,))
    outside = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup themselves
    try:
        with StopOnSignal(lambda name: os.write(writer, name.encode())) as signals:
            os.close(reader)
            signal.raise_signal(signal.SIGHUP)
        assert signals.name == "SIGHUP"
    finally:
        signal.signal(signal.SIGHUP, outside)

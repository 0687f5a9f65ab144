"""What the command says when Ctrl-C stops a training."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import typer

SHELL = 128  # plus a signal's number: the shell's code for a program that it ended, 130 for Ctrl-C


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, a training that Ctrl-C ends (everything is saved) says how to go on, and ends the program."""
    from kedge.workflows.train import TrainingInterrupted

    try:
        yield
    except TrainingInterrupted as stop:
        print(stop)
        raise typer.Exit(SHELL + signal.Signals[stop.signal]) from None

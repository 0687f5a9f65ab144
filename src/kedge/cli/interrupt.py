"""What the command says when Ctrl-C stops a training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

INTERRUPTED = 130  # the shell's code for a program ended by Ctrl-C


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, a training that Ctrl-C ends (everything is saved) says how to go on, and ends the program."""
    from kedge.workflows.train import TrainingInterrupted

    try:
        yield
    except TrainingInterrupted as stop:
        print(stop)
        raise typer.Exit(INTERRUPTED) from None

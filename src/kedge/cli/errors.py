"""What users see when something goes wrong, or when they stop it."""

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


def explain(error: Exception) -> tuple[int, str]:
    """Exit code and message: 2 for what the user can change, 1 for what went wrong while it ran.

    Errors of any other kind are Kedge's own and are raised again.
    """
    text = str(error) or type(error).__name__
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "OutOfMemoryError" in kinds:
        return 1, (
            "out of memory. Lower training.batch_size (and raise training.accumulation to make up for it), set "
            "backprop.checkpoint=true, or backprop.last_steps to a small number"
        )
    if kinds & {"TrainingFailed", "ProcessLost"}:
        return 1, text
    if kinds & {"ValueError", "OSError"}:
        return 2, text
    raise error

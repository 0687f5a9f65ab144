"""The runs of a matrix, from a command: all of them or one, in this process or several at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import typer

from kedge.cli.interrupt import SHELL

if TYPE_CHECKING:
    from kedge.workflows.runner.matrix import Matrix
    from kedge.workflows.runner.ray_launcher import Share
    from kedge.workflows.runner.runs import Run

FAILED = 1


def go(matrix: Matrix) -> None:
    """What is left of the matrix, one run after the other."""
    from kedge.workflows.runner.cell import Interrupted

    try:
        matrix.go()
    except Interrupted as stop:
        stopped(str(stop), signal.Signals[stop.signal])


def go_one(matrix: Matrix, name: str) -> None:
    """The run called ``name`` alone, as a scheduler starts it; exits with 1 if it did not come to its end."""
    from kedge.workflows.runner.matrix import OVER, Matrix

    chosen = matrix.find(name)
    go(Matrix((chosen,), matrix.folder))
    if matrix.state(chosen) not in OVER:
        raise typer.Exit(FAILED)


def spread(
    matrix: Matrix, jobs: int | None, command: Callable[[Run], Sequence[str]], share: Share | None = None
) -> None:
    """The same with ``jobs`` runs at once, each by a command of its own; on a Ray cluster, where ``share`` is given."""
    from kedge.workflows.runner.cell import Interrupted

    if share is None and jobs in (None, 1):
        go(matrix)
        return
    ends = _ends_like_ctrl_c()
    try:
        if share is None:
            matrix.spread(jobs or 1, command)
        else:
            from kedge.workflows.runner.ray_launcher import spread_on_ray

            spread_on_ray(matrix, command, share, jobs)
    except Interrupted as stop:
        stopped(str(stop), next(iter(ends), signal.SIGINT))


def _ends_like_ctrl_c() -> list[int]:
    """From now on SIGTERM and SIGHUP act as Ctrl-C does: the processes of the runs are notified, save and end.

    Returns a list to which each such signal is added when it arrives.
    """
    came: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is not signal.SIG_IGN:  # by nohup, which means to outlive its terminal
            signal.signal(number, end)
    return came


def stopped(message: str, number: int) -> NoReturn:
    """Say that a signal ended the work, and how it goes on; exits as shells expect it."""
    print(f"{message}. Go on with the same command")
    raise typer.Exit(SHELL + number)

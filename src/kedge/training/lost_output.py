"""A terminal that was closed, a pipe whose reader has ended: what cannot be shown must not end a training."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Mapping
from contextlib import suppress

from kedge.training.progress import Display

OUTPUT = (1, 2)  # the descriptors of standard output and standard error


def lost(descriptor: int) -> bool:
    """Whether nobody will ever read what is written there. Of a terminal that is gone, ``isatty`` is False."""
    if not hasattr(select, "poll"):  # Windows
        return False
    poller = select.poll()
    poller.register(descriptor, 0)
    gone = select.POLLERR | select.POLLHUP | select.POLLNVAL
    return any(event & gone for _, event in poller.poll(0))


def leave_lost_output() -> None:
    """Send to /dev/null what standard output and error cannot show any more, so that writing to them succeeds."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in OUTPUT:
        if lost(descriptor):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)


class Lasting:
    """A display whose output may get lost while it shows; the training goes on without it.

    Args:
        display: what shows, while it can.
    """

    def __init__(self, display: Display):
        self._display = display

    def start(self, step: int, total: int) -> None:
        """The run begins, or goes on, at ``step``."""
        self._try(lambda: self._display.start(step, total))

    def update(self, step: int, numbers: Mapping[str, float]) -> None:
        """A step is done, with these numbers."""
        self._try(lambda: self._display.update(step, numbers))

    def say(self, text: str) -> None:
        """A line for the user."""
        self._try(lambda: self._display.say(text))

    def close(self) -> None:
        """The run is over."""
        self._try(self._display.close)

    def _try(self, show: Callable[[], None]) -> None:
        with suppress(OSError):  # EIO of a terminal, EPIPE of a pipe
            show()
            return
        leave_lost_output()

"""Ctrl-C that finishes what it is doing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from kedge.training.lost_output import leave_lost_output

USUAL: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
HANGUP = getattr(signal, "SIGHUP", None)  # a lost terminal; not on every platform
if HANGUP is not None:
    USUAL[HANGUP] = signal.SIG_DFL


class StopOnSignal:
    """Inside, the first SIGINT, SIGTERM or SIGHUP only sets :attr:`requested`; the second one acts as usual.

    Args:
        announce: called with the signal's name when the first one arrives.

    Attributes:
        requested: whether a signal came.
        name: of the signal that came, empty before.
    """

    def __init__(self, announce: Callable[[str], None]):
        self.requested = False
        self.name = "SIGTERM"  # for a process that is stopped because another one had a signal
        self._announce = announce
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        # Python delivers signals to the main thread only, and lets only it install handlers.
        if threading.current_thread() is threading.main_thread():
            for number in USUAL:
                if number == HANGUP and signal.getsignal(number) is signal.SIG_IGN:
                    continue  # started by nohup, to outlive its terminal
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested, self.name = True, signal.Signals(number).name
        for known, before in self._before.items():
            # A shell starts background jobs with Ctrl-C ignored; a second signal is obeyed all the same.
            signal.signal(known, USUAL[known] if before is signal.SIG_IGN else before)
        if number == HANGUP:
            leave_lost_output()  # writing to a terminal that is gone would end the run before it has saved
        self._announce(self.name)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

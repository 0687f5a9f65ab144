"""A line every ten seconds while something takes long, so that nothing is silent."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from kedge.units import duration

EVERY = 10.0  # seconds


@contextmanager
def waiting(what: str | Callable[[], str], out: TextIO | None = None, every: float = EVERY) -> Iterator[None]:
    """While the block runs, say every so many seconds what takes long, and for how long already.

    Args:
        what: the words, or what makes them when they are said: ``loading emoji-lcm``.
        out: where; standard error by default. Of several processes, only the first says anything.
        every: seconds between two lines; the first comes after so many.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    over, began = threading.Event(), time.monotonic()

    def say() -> None:
        while not over.wait(every):
            words = what() if callable(what) else what
            print(f"{words} · {duration(time.monotonic() - began)} so far", file=out or sys.stderr, flush=True)

    thread = threading.Thread(target=say, daemon=True, name="kedge-waiting")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=1.0)

"""One process at a time works on a cell. The lock is one of the operating system: it dies with its process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Yields whether the lock is ours; if not, another process is at work.

    Args:
        path: the lock's file; it stays, empty.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system: whoever starts two matrices in one folder has been warned
        yield True
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)

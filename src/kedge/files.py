"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import errno
import glob
import itertools
import json
import logging
import os
import shlex
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

log = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
POLL = 1.0  # seconds between two looks at a lock
ROOM = 10**6  # bytes below which a disk is full, whatever the error says


class DiskFullError(OSError):
    """There is no room for what was to be written; the message names the folder."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft beside ``path``, for the block to write: a file, or a folder that the block makes.

    When the block ends, the draft takes the name ``path`` in the place of what had it before; when the block fails, it
    is removed. What it holds reaches the disk before the name does, so a crash at any moment leaves the old or the new.

    Raises:
        IsADirectoryError: the draft is a file, and ``path`` a folder, with who knows what in it.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(draft)
    _remove_orphans(path)
    try:
        with telling_full_disk(path.parent):
            yield draft
            flush(draft)
        if path.is_dir() and not draft.is_dir():
            raise IsADirectoryError(errno.EISDIR, "this is a folder, not to be replaced: name a file in it", str(path))
        if draft.is_dir():  # nothing that is there can be renamed over by a folder
            remove(path)
        os.replace(draft, path)
        _flush_one(path.parent)
    finally:
        remove(draft)


@contextmanager
def telling_full_disk(folder: Path) -> Iterator[None]:
    """Inside, an error that comes from a full disk becomes one that says so.

    Libraries hide it behind words of their own, so the room that is left decides.

    Raises:
        DiskFullError: naming the folder and the room that is left.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        free = shutil.disk_usage(folder).free
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or free < ROOM:
            raise DiskFullError(
                f"the disk of {folder} is full ({free / 1e6:.1f} MB left): make room. What was written whole before is "
                "still there"
            ) from error
        raise


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Yields whether the lock is ours; if not, another process is at work. It dies with its process.

    Args:
        path: the lock's file; it stays, and says who had it last.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system: nobody is kept out
        yield True
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            if error.errno not in NO_LOCKS:  # a file system without locks, like a system without: nobody is kept out
                raise
        os.truncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield True
    finally:
        os.close(handle)


@contextmanager
def alone(path: Path, work: str) -> Iterator[None]:
    """Waits until the lock is ours, and says so once if that takes a while.

    Args:
        path: the lock's file, as for :func:`locked`.
        work: for the message: ``evaluating runs/my``.
    """
    for attempt in itertools.count():
        with locked(path) as ours:
            if ours:
                yield
                return
        if attempt == 0:
            holder = path.read_text(encoding="utf-8")
            log.warning("another process (%s) is %s: waiting for it", holder.removeprefix("process "), work)
        time.sleep(POLL)


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written, before what goes into it is computed.

    Raises:
        ValueError: saying why not.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    place = path.absolute()
    while not place.exists():
        place = place.parent
    if place.is_file() and place != path.absolute():
        raise ValueError(f"{path} cannot be written: {place} is a file")
    if not os.access(place, os.W_OK):
        raise ValueError(f"{path} cannot be written: {place} is read-only")


def check_new(path: Path) -> None:
    """Refuse a new file or folder that is there already or could not be made, before what goes into it is computed.

    Raises:
        ValueError: saying which of the two.
    """
    if path.exists():
        raise ValueError(f"{path} exists: give another --out, or remove it first")
    check_writable(path)


def typed(path: object) -> str:
    """A path as one types it: in quotes where it has spaces or signs that a shell reads."""
    return shlex.quote(str(path))


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: naming the file, and where in it reading stopped.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, or no JSON: {error}") from error


def text_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, with or without a byte-order mark.

    A line ends at a line feed, a carriage return, or both: not at U+2028, U+0085 or a form feed, which
    ``str.splitlines`` takes for ends and which stand inside prompts and inside strings of JSON.

    Raises:
        UnicodeDecodeError: it is in another encoding.
    """
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def remove_drafts(folder: Path) -> None:
    """Remove what processes that were killed left half written below ``folder``: see :func:`replacing`."""
    for draft in folder.rglob(".*"):
        writer = draft.suffix.removeprefix(".")
        if writer.isdecimal() and draft.name.count(".") > 1 and not psutil.pid_exists(int(writer)):
            remove(draft)


def write_text(path: Path, text: str) -> Path:
    """Write a text file in UTF-8, whole or not at all."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return path


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Push a file, or a folder with all that is in it, to the disk."""
    if path.is_dir():
        for inner in path.rglob("*"):
            _flush_one(inner)
    _flush_one(path)


def _remove_orphans(path: Path) -> None:
    """Drafts of ``path`` whose writer was killed."""
    for draft in path.parent.glob(f".{glob.escape(path.name)}.*"):
        writer = draft.suffix.removeprefix(".")
        if writer.isdecimal() and not psutil.pid_exists(int(writer)):
            remove(draft)


def _flush_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

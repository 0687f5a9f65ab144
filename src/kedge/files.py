"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft beside ``path``, for the block to write: a file, or a folder that the block makes.

    When the block ends, the draft takes the name ``path`` in the place of what had it before; when the block fails, it
    is removed. What it holds reaches the disk before the name does, so a crash at any moment leaves the old or the new.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(draft)
    _remove_orphans(path)
    try:
        yield draft
        flush(draft)
        if path.is_dir():  # a folder in use cannot be renamed over
            shutil.rmtree(path)
        os.replace(draft, path)
        _flush_one(path.parent)
    finally:
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

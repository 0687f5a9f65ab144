"""Hashes of what files and folders hold; those of large files are remembered."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from kedge.files import write_text

LARGE = 64 * 2**20  # bytes from which a file's hash is remembered
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def file_hash(path: Path) -> str:
    """SHA-256 of a file's contents, in hexadecimal.

    The hub's cache names large files by it, so they are not read; other large files are read once and remembered, by
    path, size and time of change, in ``$KEDGE_HOME/fingerprints.json`` (``~/.cache/kedge`` unless set).
    """
    path = path.resolve()
    if path.parent.name == "blobs" and _SHA256.match(path.name):
        return path.name
    facts = path.stat()
    if facts.st_size < LARGE:
        return _hash_once(path, facts.st_size, facts.st_mtime_ns, facts.st_ino)
    remembered, key = _remembered(), f"{path} {facts.st_size} {facts.st_mtime_ns}"
    if key not in remembered:
        remembered[key] = _read_hash(path)
        _remember(remembered)
    return remembered[key]


def place_hash(path: Path) -> str:
    """Of a file, :func:`file_hash`; of a folder, a hash of the names and contents of all files in it."""
    if not path.is_dir():
        return file_hash(path)
    lines = []
    for file in sorted(path.rglob("*")):
        if file.is_file():
            lines.append(f"{file.relative_to(path).as_posix()} {file_hash(file)}")
    return text_hash(lines)


def text_hash(lines: Iterable[str]) -> str:
    """SHA-256 of some texts in their order, in hexadecimal."""
    return hashlib.sha256("\0".join(lines).encode(errors="surrogatepass")).hexdigest()


@lru_cache(maxsize=1024)
def _hash_once(path: Path, size: int, changed: int, inode: int) -> str:
    """Read once in a process, until the file is another: a run asks what its base is before and after it is loaded."""
    return _read_hash(path)


def _read_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _memory() -> Path:
    return Path(os.environ.get("KEDGE_HOME", "~/.cache/kedge")).expanduser() / "fingerprints.json"


def _remembered() -> dict[str, str]:
    try:
        hashes = json.loads(_memory().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return hashes if isinstance(hashes, dict) else {}


def _remember(hashes: dict[str, str]) -> None:
    """Where nothing can be written, the hash is computed again next time."""
    with suppress(OSError):
        write_text(_memory(), json.dumps(hashes))

"""Entries in a file, a JSON line each, packed a group at a time.

What a group's entries have in common costs once, and a group that does not change keeps its bytes when others come or
go: version control stores the difference alone. A group is one xz stream, so that ``xzcat`` prints an entry a line.
Older files hold one gzip member an entry.
"""

from __future__ import annotations

import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kedge.files import replacing

Entry = Mapping[str, Any]
GZIP, GZIP_STARTS = 16 + zlib.MAX_WBITS, b"\x1f\x8b"
# Small groups of much alike text: a dictionary as large as any of them, and four high bits of context for digits.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6 | lzma.PRESET_EXTREME, "dict_size": 1 << 22, "lc": 4}]


def read_entries(path: Path) -> dict[str, dict[str, Any]]:
    """Digest → entry; empty if there is no file.

    Raises:
        ValueError: it is damaged, or something else.
    """
    entries = {}
    try:
        for text, _ in _streams(path):
            for entry in _lines(text):
                entries[str(entry.pop("id"))] = entry
    except (lzma.LZMAError, zlib.error, ValueError, KeyError, RecursionError) as error:
        raise ValueError(f"{path.name} is damaged or something else ({error})") from error
    return entries


def packed(
    path: Path, entries: Mapping[str, Entry], group: Callable[[Entry], str] | None = None
) -> tuple[bytes, bytes]:
    """A file's content with these entries beside all that it has, and with these alone, in their order.

    Groups that the file has already keep their bytes, whatever packed them.

    Args:
        entries: digest → entry; those of a group stand together.
        group: an entry's; each is one by itself if None.
    """
    groups: dict[str, list[str]] = {}
    for key, entry in entries.items():
        groups.setdefault(group(entry) if group else key, []).append(key)
    before = {}
    for text, content in _streams(path):
        before[tuple(str(entry["id"]) for entry in _lines(text))] = content
    streams, new = [], []
    for keys in groups.values():
        known = before.get(tuple(keys))
        streams.append(known or _pack({key: entries[key] for key in keys}))
        new += [] if known else streams[-1:]
    return b"".join([*before.values(), *new]), b"".join(streams)


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; leave it alone if it says so already."""
    if path.is_file() and path.read_bytes() == content:
        return
    with replacing(path) as draft:
        draft.write_bytes(content)


def _lines(text: str) -> list[dict[str, Any]]:
    entries = []
    for line in text.split("\n"):  # not splitlines, which ends lines at signs that a prompt may hold
        if line:
            entries.append(dict(json.loads(line)))
    return entries


def _streams(path: Path) -> Iterator[tuple[str, bytes]]:
    """Each stream's text, and the bytes that it is packed in."""
    rest = path.read_bytes() if path.is_file() else b""
    while rest:
        older = rest.startswith(GZIP_STARTS)
        reader: Any = zlib.decompressobj(GZIP) if older else lzma.LZMADecompressor(lzma.FORMAT_XZ)
        text = reader.decompress(rest)
        if not reader.eof:
            raise lzma.LZMAError("it ends in the middle of an entry")
        yield text.decode(), rest[: len(rest) - len(reader.unused_data)]
        rest = reader.unused_data


def _pack(entries: Mapping[str, Entry]) -> bytes:
    """One xz stream."""
    lines = []
    for key, entry in entries.items():
        lines.append(json.dumps({"id": key, **entry}, ensure_ascii=False) + "\n")
    return lzma.compress("".join(lines).encode(), lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=FILTERS)

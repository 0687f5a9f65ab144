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
DAMAGED = (lzma.LZMAError, zlib.error)


def read_entries(path: Path) -> dict[str, dict[str, Any]]:
    """Digest → entry; empty if there is no file.

    Raises:
        lzma.LZMAError, zlib.error: it is damaged.
    """
    entries = {}
    for text, _ in _streams(path):
        for line in text.splitlines():
            entry = json.loads(line)
            entries[str(entry.pop("id"))] = entry
    return entries


def write_entries(path: Path, entries: Mapping[str, Entry], group: Callable[[Entry], str] | None = None) -> None:
    """Write the entries in their order; groups that are there already keep their bytes, whatever packed them.

    Args:
        entries: digest → entry; those of a group stand together.
        group: an entry's; each is one by itself if None.
    """
    groups: dict[str, list[str]] = {}
    for key, entry in entries.items():
        groups.setdefault(group(entry) if group else key, []).append(key)
    before = {}
    for text, packed in _streams(path):
        before[tuple(str(json.loads(line)["id"]) for line in text.splitlines())] = packed
    content = bytearray()
    for keys in groups.values():
        content += before.get(tuple(keys)) or _pack({key: entries[key] for key in keys})
    replace_bytes(path, bytes(content))


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; leave it alone if it says so already."""
    if path.is_file() and path.read_bytes() == content:
        return
    with replacing(path) as draft:
        draft.write_bytes(content)


def _streams(path: Path) -> Iterator[tuple[str, bytes]]:
    """Each stream's text, and the bytes that it is packed in."""
    rest = path.read_bytes() if path.is_file() else b""
    while rest:
        older = rest.startswith(GZIP_STARTS)
        reader: Any = zlib.decompressobj(GZIP) if older else lzma.LZMADecompressor(lzma.FORMAT_XZ)
        text = reader.decompress(rest)
        if not reader.eof:
            raise lzma.LZMAError(f"{path.name} ends in the middle of an entry")
        yield text.decode(), rest[: len(rest) - len(reader.unused_data)]
        rest = reader.unused_data


def _pack(entries: Mapping[str, Entry]) -> bytes:
    """One xz stream."""
    lines = []
    for key, entry in entries.items():
        lines.append(json.dumps({"id": key, **entry}, ensure_ascii=False) + "\n")
    return lzma.compress("".join(lines).encode(), lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=FILTERS)

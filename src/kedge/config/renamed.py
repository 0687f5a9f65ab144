"""Keys of a recipe that have another name now: the old one is answered with the new one, for one release.

A key that is renamed in version 0.3 gets a line here. All of 0.3 says what to write instead; the line goes when
development of 0.4 begins (a test reminds of it), and the key is then unknown like any other.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Renamed:
    """One renamed key, or block of keys.

    Attributes:
        old: its dotted path before, for example ``memory.unet_checkpoint``.
        new: its dotted path now.
        version: the first version with the new name, ``major.minor``.
    """

    old: str
    new: str
    version: str


RENAMED: tuple[Renamed, ...] = ()


def renamed(key: str) -> str | None:
    """What to say about the unknown key or block ``key`` (a dotted path) if it is an old name; otherwise None."""
    lines = []
    for entry in RENAMED:
        if entry.old == key or entry.old.startswith(f"{key}."):
            lines.append(f"{entry.old!r} is called {entry.new!r} since version {entry.version}: write that instead")
    return "; ".join(lines) or None

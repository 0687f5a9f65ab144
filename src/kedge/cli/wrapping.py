"""Long lines as wide as the terminal; whole where the output is a file, so that programs can read it."""

from __future__ import annotations

import shutil
import sys
import textwrap


def print_wrapped(text: str, first: str = "", others: str | None = None) -> None:
    """Print ``text`` behind ``first``; further lines are behind ``others``, or as far in as ``first`` is long."""
    if not sys.stdout.isatty():
        print(f"{first}{text}")
        return
    width, margin = shutil.get_terminal_size().columns, " " * len(first) if others is None else others
    print(textwrap.fill(text, width, initial_indent=first, subsequent_indent=margin, break_on_hyphens=False))

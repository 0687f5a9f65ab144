"""How ``kedge eval`` and ``kedge compare`` show their tables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.files import check_writable, write_text
from kedge.units import finite

if TYPE_CHECKING:
    from kedge.evaluation.tables import Table

SUFFIXES = {".md": "markdown", ".json": "json", ".csv": "csv", ".tex": "latex", ".txt": "table"}


def table_format(format: str | None, out: Path | None) -> str:
    """The format asked for, or that of the file's ending.

    Raises:
        ValueError: listing the formats.
    """
    from kedge.evaluation.rendering import FORMATS

    if format is None and out is not None and out.suffix.lower() not in SUFFIXES:
        raise ValueError(f"--out {out}: its ending says no format: end it in {', '.join(SUFFIXES)}, or give --format")
    if out is not None:
        check_writable(out)  # before anything is measured
    chosen = format or (SUFFIXES[out.suffix.lower()] if out else "table")
    if chosen not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, not {chosen!r}")
    return chosen


def read_scales(texts: list[str]) -> dict[str, float]:
    """``["hpsv2=100"]`` → ``{"hpsv2": 100.0}``.

    Raises:
        ValueError: naming the text that is none.
    """
    scales = {}
    for text in texts:
        name, _, factor = text.rpartition("=")
        try:
            scales[name] = finite(factor)
        except ValueError:
            scales[name] = 0.0
        if not name or scales[name] <= 0:
            raise ValueError(f"--scale takes NAME=FACTOR with a factor above 0, for example hpsv2=100, not {text!r}")
    return scales


def write_table(table: Table, format: str, out: Path | None) -> None:
    """Print a table, with bold on a terminal, or write it to a file."""
    from kedge.evaluation.rendering import for_width, render

    if out is not None:
        write_text(out, render(table, format))
        print(out)
    elif format == "table" and sys.stdout.isatty():
        from rich.console import Console

        console = Console(highlight=False)
        console.print(for_width(table, console.width))
    else:
        print(render(table, format), end="")

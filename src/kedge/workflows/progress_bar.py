"""A bar on standard error while pictures are drawn and scored."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedge.evaluation.evaluator import Progress


@contextmanager
def progress_bar(label: str) -> Iterator[Progress | None]:
    """A bar, if standard error is a terminal; else nothing."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    if not sys.stderr.isatty():
        yield None
        return
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

"""How far drawing and scoring are: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kedge.waiting import waiting

if TYPE_CHECKING:
    from kedge.evaluation.evaluator import Progress


@contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """Call what it yields with how many pictures are done, and of how many."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    if not sys.stderr.isatty():
        with _lines(label) as progress:
            yield progress
        return
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _lines(label: str) -> Iterator[Progress]:
    so_far = {"words": label}

    def progress(done: int, total: int) -> None:
        so_far["words"] = f"{label}: {done} of {total}"

    with waiting(lambda: so_far["words"]):
        yield progress

"""What ``kedge study import`` does: people's own ratings and choices become a folder that ``kedge study fit`` takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kedge.files import typed


def import_judgements(
    file: Path, out: Path, images: Path | None = None, columns: Mapping[str, str] | None = None
) -> str:
    """Read ``file``, write ``out``, and say what is in it and what to do with it.

    Raises:
        ValueError: the file cannot be read, naming the row and what was expected; or ``out`` exists.
    """
    from kedge.study.importing import read_judgements
    from kedge.study.ratings import Rated, write_import

    rows = read_judgements(file, images, columns)
    write_import(rows, file, out)
    kind = "ratings" if isinstance(rows[0], Rated) else "choices"
    return f"{len(rows)} {kind} in {out}\nLearn a reward from them: kedge study fit {typed(out)} --out REWARD"

"""People's own judgements, brought from elsewhere: ratings of pictures, and choices between two, in one folder.

    FOLDER/imported.json    what it is and where it came from
    FOLDER/rows.jsonl       {"prompt", "image", "rating"} or {"prompt", "first", "second", "preferred"}, one a line
    FOLDER/pictures/        the pictures themselves

``preferred`` is 0 for the first picture, 1 for the second and 0.5 for neither, as D3PO's votes have it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedge.files import check_new, replacing, text_lines
from kedge.study.comparisons import Comparison

FACTS, ROWS, PICTURES = "imported.json", "rows.jsonl", "pictures"


@dataclass(frozen=True)
class Rating:
    """One person's (or a mean) rating of one picture.

    Attributes:
        prompt: what it was drawn for; may be empty.
    """

    prompt: str
    image: Path
    rating: float


@dataclass(frozen=True)
class Picture:
    """A picture on its way in: a file of somebody's, or its bytes."""

    name: str
    file: Path | None = None
    data: bytes | None = None

    def write(self, folder: Path) -> str:
        """Into ``folder``, once; returns its name there."""
        content = self.data if self.data is not None else Path(str(self.file)).read_bytes()
        target = folder / self.name
        if not target.is_file():
            target.write_bytes(content)
        return self.name


@dataclass(frozen=True)
class Rated:
    """A rating on its way in."""

    prompt: str
    image: Picture
    rating: float


@dataclass(frozen=True)
class Chosen:
    """A choice on its way in; ``preferred`` as in the rows."""

    prompt: str
    first: Picture
    second: Picture
    preferred: float


def write_import(rows: list[Rated] | list[Chosen], source: Path, folder: Path) -> Path:
    """Write what was read of ``source`` as a folder that ``kedge study fit`` takes.

    Raises:
        ValueError: ``folder`` exists or cannot be written, or there is nothing.
    """
    check_new(folder)
    if not rows:
        raise ValueError(f"{source} holds no judgement that could be read")
    kind = "ratings" if isinstance(rows[0], Rated) else "choices"
    with replacing(folder) as draft:
        pictures = draft / PICTURES
        pictures.mkdir(parents=True)
        lines = [json.dumps(_row(row, pictures), ensure_ascii=False) for row in rows]
        (draft / ROWS).write_text("\n".join(lines) + "\n", encoding="utf-8")
        facts = {"kind": kind, "source": source.name, "count": len(rows)}
        (draft / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return folder


def _row(row: Rated | Chosen, pictures: Path) -> dict[str, Any]:
    if isinstance(row, Rated):
        return {"prompt": row.prompt, "image": row.image.write(pictures), "rating": row.rating}
    first, second = row.first.write(pictures), row.second.write(pictures)
    return {"prompt": row.prompt, "first": first, "second": second, "preferred": row.preferred}


def is_import(folder: Path) -> bool:
    """Whether :func:`write_import` wrote this folder."""
    return (folder / FACTS).is_file()


def read_import(folder: Path) -> list[Rating] | list[Comparison]:
    """The judgements in an imported folder."""
    rows = [json.loads(line) for line in text_lines(folder / ROWS)]
    pictures = folder / PICTURES
    if json.loads((folder / FACTS).read_text(encoding="utf-8"))["kind"] == "ratings":
        return [Rating(row["prompt"], pictures / row["image"], float(row["rating"])) for row in rows]
    choices = []
    for row in rows:
        label = 1.0 - float(row["preferred"])
        choices.append(Comparison(row["prompt"], pictures / row["first"], pictures / row["second"], label))
    return choices

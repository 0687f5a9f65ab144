"""Ratings and choices out of other programs' files: CSV, Pick-a-Pic's Parquet, Label Studio's JSON, Kedge's exports.

Each file becomes a list of plain rows (:func:`read_rows`), whose columns are recognised by their usual names or named
by the user (``columns``).
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

from kedge.files import text_lines
from kedge.registry import suggest
from kedge.study.label_studio import flat_tasks
from kedge.study.own_votes import main_rows
from kedge.study.ratings import Chosen, Picture, Rated
from kedge.units import finite

Row = Mapping[str, Any]

# What is wanted → the columns that usually hold it, in the order in which they are looked for.
USUAL = {
    "prompt": ("prompt", "caption", "text", "Prompt", "TEXT"),
    "image": ("image", "file", "picture", "path", "filename", "file_name", "image_path", "jpg"),
    "rating": ("rating", "score", "stars", "mean_score", "label"),
    "first": ("first_picture", "image_a", "jpg_0", "image_0", "image1", "left", "first", "image_0_url"),
    "second": ("second_picture", "image_b", "jpg_1", "image_1", "image2", "right", "second", "image_1_url"),
    "choice": ("winner", "choice", "preferred", "better", "label_0", "selected"),
}
FIRST = {"a", "0", "first", "left", "image_a", "image_0", "image1", "1st"}
SECOND = {"b", "1", "second", "right", "image_b", "image_1", "image2", "2nd"}
LABEL = "label_0"  # Pick-a-Pic's column: how far the first one won, where others name the winner
TIE = {"tie", "equal", "both", "neither", "same", "0.5", "draw", "none"}


def read_judgements(
    file: Path, images: Path | None = None, columns: Mapping[str, str] | None = None
) -> list[Rated] | list[Chosen]:
    """Read people's ratings or choices.

    Args:
        file: ``.csv``, ``.tsv``, ``.jsonl``, ``.json`` (Label Studio's, or a list of objects) or ``.parquet``.
        images: where the pictures are that the file names; its own folder by default.
        columns: what is wanted → the column that holds it, where that has an unusual name.

    Raises:
        ValueError: naming the file, the row and what was expected there.
    """
    rows = read_rows(file)
    names = list(dict.fromkeys(name for row in rows for name in row))
    holders = _columns(names, columns or {}, str(file))
    folder = images or file.parent
    if "first" in holders and "second" in holders:
        if "choice" not in holders:
            raise ValueError(_lacking(file, "choice", names))
        return _choices(rows, holders, folder, file)
    if "image" in holders and "rating" in holders:
        return _ratings(rows, holders, folder, file)
    raise ValueError(_lacking(file, "rating" if "image" in holders else "image", names))


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a table in any of the formats, as they stand in it.

    Raises:
        ValueError: there is no such file, or it is none of the formats.
    """
    readers: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
        ".csv": _csv,
        ".tsv": _csv,
        ".jsonl": _jsonl,
        ".json": _json,
        ".parquet": _parquet,
    }
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    if file.suffix.lower() not in readers:
        raise ValueError(f"{file}: cannot read {file.suffix or 'this'} files; use {', '.join(readers)}")
    try:
        rows = readers[file.suffix.lower()](file)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from error
    except RecursionError:
        raise ValueError(f"{file} is nested too deeply to be a table of judgements") from None
    except csv.Error as error:  # a quotation mark that is never closed, most often
        raise ValueError(f"{file} cannot be read as a table: {error}") from error
    if not rows:
        raise ValueError(f"{file} holds no rows")
    return rows


def _csv(file: Path) -> list[dict[str, Any]]:
    """Separated by commas, semicolons or tabs, whichever its first line has most of."""
    with file.open(newline="", encoding="utf-8-sig") as lines:
        first = lines.readline()
        lines.seek(0)
        delimiter = max(",;\t", key=first.count)
        reader = csv.DictReader(lines, delimiter=delimiter)
        rows: list[dict[str, Any]] = []
        for row in reader:
            beyond = row.pop(None, [])  # DictReader's key for further cells
            if any(beyond):
                raise ValueError(
                    f"{file}, line {reader.line_num}: more cells than the first line names columns, {beyond[0]!r} is "
                    f"the first; a text that has {delimiter!r} in it goes into quotation marks"
                )
            rows.append(row)
    return rows


def _jsonl(file: Path) -> list[dict[str, Any]]:
    return _objects([json.loads(line) for line in text_lines(file) if line.strip()], file)


def _json(file: Path) -> list[dict[str, Any]]:
    items = json.loads(file.read_text(encoding="utf-8-sig"))
    if not isinstance(items, list):
        raise ValueError(f"{file}: expected a list of tasks or rows, found {type(items).__name__}")
    return flat_tasks(_objects(items, file))


def _objects(items: Sequence[Any], file: Path) -> list[dict[str, Any]]:
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise ValueError(f"{file}, item {number}: expected an object with columns, found {item!r:.80}")
    return list(items)


def _parquet(file: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError("reading Parquet needs pyarrow: pip install pyarrow") from error
    try:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(file).to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{file} is not a Parquet file: {error}") from error
    labelled = []
    for row in rows:
        if row.get("has_label", True):
            labelled.append(row)
    return labelled  # Pick-a-Pic keeps pairs that nobody judged


def _columns(names: Sequence[str], wanted: Mapping[str, str], where: str) -> dict[str, str]:
    """What is wanted → the column that holds it, for all that is there."""
    for what, name in wanted.items():
        if what not in USUAL:
            raise ValueError(f"--column {what}={name}: there is no {what!r}.{suggest(what, USUAL)} {', '.join(USUAL)}")
        if name not in names:
            raise ValueError(f"{where} has no column {name!r}.{suggest(name, names)} Columns: {', '.join(names)}")
    holders = dict(wanted)
    for what, usual in USUAL.items():
        for name in usual:
            if what not in holders and name in names:
                holders[what] = name
    return holders


def _lacking(file: Path, what: str, names: Sequence[str]) -> str:
    return (
        f"{file}: which column holds the {what}? Expected image and rating, or first, second and choice; it has "
        f"{', '.join(names)}. Say it with --column {what}=NAME"
    )


def _ratings(rows: Iterable[Row], columns: Mapping[str, str], folder: Path, file: Path) -> list[Rated]:
    rated = []
    for number, row in enumerate(rows, start=1):
        where = f"{file}, row {number}"
        text = _cell(row, columns["rating"], where)
        try:
            rating = finite(str(text).replace(",", "."))
        except ValueError:
            raise ValueError(f"{where}: {columns['rating']} should be a number, not {text!r}") from None
        rated.append(Rated(_prompt(row, columns), _picture(_cell(row, columns["image"], where), folder, where), rating))
    return rated


def _choices(rows: Sequence[Row], columns: Mapping[str, str], folder: Path, file: Path) -> list[Chosen]:
    chosen, column = [], columns["choice"]
    values = {_word(row.get(column)) for row in rows}
    from_one = column != LABEL and "2" in values and values <= {"1", "2", "", *TIE}  # some count the pictures from 1
    for number, row in main_rows(rows, file):
        where = f"{file}, row {number}"
        names = _cell(row, columns["first"], where), _cell(row, columns["second"], where)
        value = _cell(row, column, where)
        if from_one and _word(value) in ("1", "2"):
            value = int(_word(value)) - 1
        preferred = _preferred(value, column, names, where)
        first, second = (_picture(name, folder, where) for name in names)
        chosen.append(Chosen(_prompt(row, columns), first, second, preferred))
    return chosen


def _preferred(value: Any, column: str, names: tuple[Any, Any], where: str) -> float:
    """0 for the first, 1 for the second, 0.5 for neither.

    ``label_0`` of Pick-a-Pic is 1 where the first one won; all other columns name the winner.
    """
    if column == LABEL:
        return 1.0 - _share(value, where)
    text = _word(value)
    for preferred, words in ((0.0, FIRST), (1.0, SECOND), (0.5, TIE)):
        if text in words:
            return preferred
    if value in names and names[0] != names[1]:
        return float(names.index(value))
    choices = "a or b, left or right, 0 or 1 (or 1 or 2, where the whole column is), a picture's name, or tie"
    raise ValueError(f"{where}: {column} should be {choices}; not {value!r}")


def _share(value: Any, where: str) -> float:
    """How far the first picture won: 1, 0, or between."""
    try:
        share = finite(value)
        if 0 <= share <= 1:
            return share
    except ValueError:
        pass
    raise ValueError(f"{where}: {LABEL} should be 1, 0 or 0.5, not {value!r}")


def _word(value: Any) -> str:
    """A cell as it is compared: pandas writes whole numbers as 1.0 where a cell of the column is empty."""
    return str(value).strip().lower().removesuffix(".0")


def _cell(row: Row, column: str, where: str) -> Any:
    """What a row has in a column that it must have; objects of JSON may lack a key, and lines of CSV end early.

    Raises:
        ValueError: naming the row and the column.
    """
    if row.get(column) is None:
        raise ValueError(f"{where}: there is nothing in column {column!r}")
    return row[column]


def _prompt(row: Row, columns: Mapping[str, str]) -> str:
    return str(row.get(columns["prompt"]) or "") if "prompt" in columns else ""


def _picture(value: Any, folder: Path, where: str) -> Picture:
    """A picture by its bytes, or by its name in ``folder``; what Label Studio and web tools put around a name goes."""
    if isinstance(value, Mapping):  # as the hub's data sets store images
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return Picture(f"{hashlib.sha256(value).hexdigest()[:20]}{_suffix(value)}", data=value)
    try:
        address = urlparse(str(value))
    except ValueError as error:  # half an address of IPv6: http://[x
        raise ValueError(f"{where}: {value!r} is neither a file in {folder} nor an address ({error})") from error
    inside = parse_qs(address.query).get("d", [unquote(address.path)])[0]
    for name in (str(value), inside):  # as it stands first: file names may have #, ? and % in them
        for candidate in (folder / name.lstrip("/"), folder / Path(name).name):
            if os.path.isfile(candidate):  # Path.is_file raises at the length of some addresses
                mark = hashlib.sha256(str(candidate.resolve()).encode()).hexdigest()[:8]
                return Picture(f"{candidate.stem}-{mark}{candidate.suffix}", file=candidate)
    if address.scheme in ("http", "https"):
        raise ValueError(f"{where}: {value} is on the web: fetch the pictures into a folder, and give it as --images")
    raise ValueError(f"{where}: there is no picture {value!r} in {folder}: give the pictures' folder with --images")


def _suffix(data: bytes) -> str:
    return ".png" if data.startswith(b"\x89PNG") else ".webp" if data[8:12] == b"WEBP" else ".jpg"

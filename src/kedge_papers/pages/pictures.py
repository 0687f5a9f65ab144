"""Figures that are pictures: a row for each prompt, a column for each model, the same noise along a row."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from kedge.evaluation.grid import image_grid
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord

SAME = "Same prompt and same noise along each row; models of one family start from the same."


def picture_grid(
    result: Result, runs: Sequence[tuple[str, RunRecord]], role: str, title: str = "", note: str = SAME
) -> Image.Image | None:
    """The runs that have pictures, under the given headers; None if none has.

    The pictures of one run are those of the first prompts that it was measured on.
    """
    columns = {head: (run, result.pictures(run, role)) for head, run in runs}
    columns = {head: column for head, column in columns.items() if column[1]}
    if not columns:
        return None
    run, first = next(iter(columns.values()))
    prompts = list(dict.fromkeys(run.evaluations[role].prompts))[: len(first)]
    return image_grid({head: pictures for head, (_, pictures) in columns.items()}, prompts, title=title, note=note)


def arranged(grids: Sequence[Image.Image | None], columns: int = 1) -> Image.Image | None:
    """Grids as one picture, row by row; None if there are none."""
    drawn = [grid for grid in grids if grid is not None]
    if not drawn:
        return None
    width, height = max(grid.width for grid in drawn), max(grid.height for grid in drawn)
    rows = -(-len(drawn) // columns)
    whole = Image.new("RGB", (width * min(columns, len(drawn)), height * rows), "white")
    for i, grid in enumerate(drawn):
        whole.paste(grid, (width * (i % columns), height * (i // columns)))
    return whole

"""Figures that are pictures: a row for each prompt, a column for each model, the same noise along a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from kedge.evaluation.grid import image_grid
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord

SAME = "Same prompt and same noise along each row; models of one family start from the same."


def picture_grid(
    result: Result, runs: Sequence[tuple[str, RunRecord]], role: str, title: str = "", note: str = SAME
) -> Image.Image | None:
    """The runs that have pictures, under the given headers; None if none has.

    The pictures of one run are the first that it was measured by, all of a prompt together.
    """
    columns: dict[str, list[np.ndarray]] = {}
    prompts: list[str] = []
    for head, run in runs:
        pictures = result.pictures(run, role)
        if pictures:
            columns[head] = pictures
            prompts = prompts or list(run.evaluations[role].prompts[: len(pictures)])
    return image_grid(columns, prompts, title=title, note=note) if columns else None


def arranged(grids: Sequence[Image.Image | None], columns: int = 1) -> Image.Image | None:
    """Grids as one picture, row by row; None if there are none."""
    drawn = []
    for grid in grids:
        if grid is not None:
            drawn.append(grid)
    if not drawn:
        return None
    width, height = np.max([grid.size for grid in drawn], axis=0).tolist()
    rows = -(-len(drawn) // columns)
    whole = Image.new("RGB", (width * min(columns, len(drawn)), height * rows), "white")
    for i, grid in enumerate(drawn):
        whole.paste(grid, (width * (i % columns), height * (i // columns)))
    return whole

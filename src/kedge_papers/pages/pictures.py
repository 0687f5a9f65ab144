"""Figures that are pictures: a row for each prompt, a column for each model, the same noise along a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kedge.evaluation.grid import image_grid
from kedge_papers.records.records import Result, RunRecord


def save_grid(
    result: Result, runs: Sequence[tuple[str, RunRecord]], role: str, folder: Path, name: str, note: str = ""
) -> list[Path]:
    """``NAME.png`` of the runs that have pictures, under the given headers; nothing if none has.

    The pictures of one run are those of the first prompts that it was measured on.
    """
    found = {head: (run, pictures) for head, run in runs if (pictures := result.pictures(run, role))}
    if not found:
        return []
    run, first = next(iter(found.values()))
    prompts = list(dict.fromkeys(run.evaluations[role].prompts))[: len(first)]
    same = "Same prompt and same noise along each row; models of one family start from the same."
    grid = image_grid({head: pictures for head, (_, pictures) in found.items()}, prompts, note=note or same)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    grid.save(path)
    return [path]

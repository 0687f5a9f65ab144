"""Figures of pictures: each row is of the prompt that stands beside it."""

from __future__ import annotations

import numpy as np

from helpers.invented_records import FACTS, SHEET, record
from kedge.evaluation.grid import image_grid
from kedge_papers.pages.pictures import picture_grid
from kedge_papers.records.result import Result


def test_a_prompt_that_was_drawn_twice_stands_beside_two_rows() -> None:
    prompts = ("a cat", "a cat", "a dog", "a dog", "a cow", "a cow")
    run = record("kl", 0, {"oracle": np.zeros(6)}, prompts=prompts, pictures={"final": "sheet"})
    result = Result("fig", FACTS, [run], {}, {"sheet": SHEET})
    drawn = picture_grid(result, [("KL", run)], "final", note="")
    expected = image_grid({"KL": result.pictures(run, "final")}, ["a cat", "a cat", "a dog", "a dog"], note="")
    assert drawn is not None
    assert np.array_equal(np.asarray(drawn), np.asarray(expected))

"""A divergence that no step has is said before training: with one step, ROCM's anchor holds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.training_world import recipe
from kedge.config import parse_config
from kedge.training.run import train


@pytest.mark.parametrize(
    ("steps", "algorithm", "warned"),
    [
        (1, {"divergence": "kl", "beta": 0.1}, True),
        (1, {"divergence": "kl", "beta": 0.1, "last_step_std": 0.1}, False),
        (1, {"divergence": "none"}, False),
        (2, {"divergence": "kl", "beta": 0.1}, False),
    ],
)
def test_one_step_has_no_anchor(steps: int, algorithm: dict, warned: bool, tmp_path: Path, caplog) -> None:
    changes = {"model__steps": steps, "algorithm": {"name": "rocm", **algorithm}, "training__steps": 1}
    train(parse_config(recipe(**changes)), tmp_path / "run")
    assert ("nothing anchors this run" in caplog.text) == warned

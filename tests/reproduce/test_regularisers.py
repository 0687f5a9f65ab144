"""Divergences at one distance: how far each went and what it has more than KL are read from records as planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.invented_records import PROMPTS, record, result
from kedge_papers import TARGETS
from kedge_papers.records.run_record import RunRecord, curve
from kedge_papers.targets.regularisers import REGULARISERS

STEPS = list(range(8))


def held(label: str, name: str, seed: int, *, nats: float, truth: float) -> RunRecord:
    """A run on PickScore that drifts to ``nats`` in its first half and stays."""
    columns = {"step": STEPS, "queries": [8.0 * i for i in STEPS], "reward": STEPS}
    columns["distance_nats"] = [nats * min(1, i / 4) for i in STEPS]
    scores = {"oracle": truth + 0.01 * seed + np.linspace(0, 0.1, len(PROMPTS))}
    return replace(
        record(f"{name}-pickscore", seed, scores, title=f"{label}, pickscore", curve=columns), step=len(STEPS)
    )


def test_the_held_distance_is_recorded_as_it_was_logged():
    log = [{"step": i, "seconds": 1.0, "distance_nats": 2.0 * i, "target_nats": 8.0} for i in range(3)]
    assert curve(log, queries=8.0)["distance_nats"] == [0.0, 2.0, 4.0]


def test_distance_and_difference_to_kl_are_those_that_were_planted():
    kl, fisher = REGULARISERS[:2]
    runs = []
    for seed in range(3):
        runs.append(held(kl.label, kl.name, seed, nats=8.0 + 0.1 * seed, truth=0.5))
        runs.append(held(fisher.label, fisher.name, seed, nats=7.9, truth=0.6))
    base = record("base-consistency", None, {"oracle": np.zeros(len(PROMPTS))})
    beside, finished = TARGETS.get("divergences").show(result([base, *runs])).tables
    lines = dict(beside.rows)
    assert list(lines) == ["KL", "Fisher"]
    assert lines["KL"][0].interval.value == pytest.approx(8.1)
    assert lines["KL"][1] is None
    assert lines["Fisher"][1].interval.value == pytest.approx(0.1)
    assert lines["Fisher"][1].bold
    assert [label for label, _ in finished.rows] == ["base-consistency", "KL, pickscore", "Fisher, pickscore"]
    alone = TARGETS.get("divergences").show(result(runs[:2])).tables[0]
    assert dict(alone.rows)["Fisher"][1] is None  # one seed says nothing about how it was trained

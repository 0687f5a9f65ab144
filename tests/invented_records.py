"""Records of runs that never were, for tests of what is concluded from records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kedge.evaluation.result import Evaluation
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord

PROMPTS = tuple(f"a cat {i}" for i in range(20))
REWARDS = {
    name: f"{name}@emoji" for name in ("pickscore", "aesthetic", "hpsv2", "clipscore", "blipscore", "imagereward")
}
FACTS = {"rewards": REWARDS, "truth": "oracle", "title": "A title", "mirrors": "nothing"}
BASE = {"name": "emoji-lcm", "digest": "ba5e" * 16}


def record(
    name: str,
    seed: int | None = None,
    scores: Mapping[str, Any] | None = None,
    *,
    title: str = "",
    curve: Mapping[str, Sequence[float]] | None = None,
    role: str = "final",
    reward: str = "pickscore@emoji",
    prompts: Sequence[str] = PROMPTS,
    **more: Any,
) -> RunRecord:
    """A run of a family with a seed (a model before training without one), its scores in one role, its curve."""
    values = {metric: np.asarray(value, dtype=float) for metric, value in (scores or {}).items()}
    evaluations = {role: Evaluation(name, tuple(prompts), 0, values)} if values else {}
    trained = seed is not None
    steps = {"step": [1, 50], "queries": [8.0, 400.0]} if trained else {}
    return RunRecord(
        f"{name}--{seed}" if trained else name,
        title or name,
        seed or 0,
        (),
        "recipe",
        "finished",
        step=50 if trained else 0,
        seconds=60.0,
        passes=10.0,
        queries=8.0,
        curve=curve or steps,
        evaluations=evaluations,
        config={"reward": reward, "algorithm": {"beta": 0.0}},
        base=BASE,
        **more,
    )


def result(runs: Sequence[RunRecord], target: str = "target", extra: Mapping[str, Any] | None = None) -> Result:
    """Of a target."""
    return Result(target, FACTS, tuple(runs), extra or {})


def rising(queries: Sequence[float], rises: Sequence[float], *, start: float = 5.0, **columns: Any) -> dict[str, Any]:
    """A curve of PickScore on the test prompts, from ``start`` up by ``rises``, and other columns."""
    held_out = {"held_out/pickscore@emoji": [start + rise for rise in rises]}
    steps = list(range(len(queries)))
    return {"step": steps, "queries": list(queries), "seconds": [2 * q for q in queries], **held_out, **columns}

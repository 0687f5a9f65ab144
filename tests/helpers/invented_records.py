"""Records of runs that never were, for tests of what is concluded from records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kedge.config.loading import plain
from kedge.evaluation.result import Evaluation
from kedge.workflows.runner.runs import Run
from kedge_papers.records.result import Result, sheet
from kedge_papers.records.run_record import RunRecord, digest
from kedge_papers.records.store import RecordStore
from kedge_papers.runner.command_call import CommandCall
from kedge_papers.runner.experiment_set import load_experiment_set
from kedge_papers.runner.options import MatrixOptions

PROMPTS = tuple(f"a cat {i}" for i in range(20))
REWARDS = {
    name: f"{name}@emoji" for name in ("pickscore", "aesthetic", "hpsv2", "clipscore", "blipscore", "imagereward")
}
FACTS = {"rewards": REWARDS, "truth": "oracle", "title": "A title", "mirrors": "nothing"}
EMOJI = load_experiment_set("emoji")
SHEET = sheet(np.zeros((4, 8, 8, 3), dtype=np.uint8))
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


def invented(run: Run, index: int) -> RunRecord:
    """A record of a run of a matrix: the later in it, the better."""
    rng = np.random.default_rng(index)
    scores = {
        role: Evaluation(run.title, PROMPTS[:12], 0, {m: rng.normal(index, 0.1, 12) for m in measure.metrics})
        for role, measure in run.measures.items()
    }
    steps = list(range(1, 41)) if run.train else []
    held_out = {f"held_out/{metric}": [math.sqrt(s) + index for s in steps] for metric in EMOJI.metrics}
    curve = {"step": steps, "seconds": [3.0 * s for s in steps], "queries": [8.0 * s for s in steps]}
    curve |= {"reward": [math.sqrt(s) + index for s in steps], "peak_memory_mb": [1.0 for _ in steps], **held_out}
    curve["alarm"] = [0.0 for _ in steps]
    config = run.config()
    return RunRecord(
        run.name, run.title, run.seed, tuple(run.arguments()), run.recipe, "finished", "", len(steps), 3.0 * len(steps),
        10.0, 8.0, curve, scores, {role: {"missing": {}, "seconds_per_picture": 0.1} for role in run.measures},
        plain(config), {}, {"name": config.model.name, "digest": config.model.name},
        pictures=dict.fromkeys(run.measures, digest(SHEET)),
    )  # fmt: skip


def result_of(name: str, folder: Path, **options: Any) -> Result:
    """What a target would have recorded, saved and read again."""
    call = CommandCall(name, MatrixOptions(EMOJI, **options), folder)
    runs = tuple(invented(run, i) for i, run in enumerate(call.matrix.runs))
    call.store.put(Result(name, call.facts(), runs, sheets={digest(SHEET): SHEET}))
    return RecordStore(call.store.folder).results()[name]

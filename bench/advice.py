"""Whether ``kedge frontier`` advises well: ``python -m bench.advice RUN ...``, of runs that watched the truth as well.

Judges choose a step of each run, and a strength of its adapter at the end; the truth, which advises nothing, says what
that is worth against the last step at full strength, on the pictures that the judges chose by. Of a run whose weights
are not here (``--steps-only``) the step alone is judged. Each run is added to docs/records/advice.json when it is done,
and not measured again; ``make docs`` writes the table in docs/evaluation.md from it.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from kedge.config import load_config
from kedge.evaluation.frontier import Frontier, Point
from kedge.evaluation.frontier import frontier as frontier_of
from kedge.evaluation.judges import standing
from kedge.evaluation.statistics import mean_interval
from kedge.files import write_text
from kedge.runs.folder import RunFolder
from kedge.workflows.frontier import frontier, read_looks

FEW = 3  # looks, the base's among them, that are no choice of a step
RECORD = Path(__file__).parents[1] / "docs" / "records" / "advice.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--steps-only", action="store_true", help="draw nothing")
    parser.add_argument("--out", type=Path, default=RECORD)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    known = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    for run in arguments.runs:
        if run.name not in known or ("strength" not in known[run.name] and not arguments.steps_only):
            known[run.name] = measured(run, draw=not arguments.steps_only)
            write_text(arguments.out, json.dumps(dict(sorted(known.items())), indent=1) + "\n")
            print(run.name, known[run.name], flush=True)


def measured(run: Path, *, draw: bool) -> dict[str, Any]:
    """What was advised, and the truth there minus at the last step at full strength: value and 95 % interval."""
    config = load_config(run / "config.yaml", to_train=False)
    result = frontier(run).frontier if draw else frontier_of(config.reward, read_looks(RunFolder(run).watched))
    truth = truth_of(result)
    known: dict[str, Any] = {
        "trained": config.reward,
        "method": config.algorithm.name,
        "beta": getattr(config.algorithm.instance, "beta", None),
        "judges": list(result.judges),
        "last": result.steps[-1].label,
        "at the end": interval(result.steps[-1].changes[truth]),
    }
    if len(result.steps) > FEW:
        known |= {"step": result.best_step.label, "gained": gained(result.best_step, result.steps[-1], truth)}
    chosen = result.best_strength
    if chosen is not None:
        full = next(point for point in result.strengths if point.label == 1)
        known |= {"strength": chosen.label, "gained by strength": gained(chosen, full, truth)}
    return known


def truth_of(result: Frontier) -> str:
    """The metric that is the truth.

    Raises:
        ValueError: if the run did not watch it.
    """
    for metric in result.steps[0].changes:
        if standing(metric, [result.trained]).truth:
            return metric
    raise ValueError("the run did not watch the truth (watch.metrics): nothing says whether advice was good")


def gained(chosen: Point, last: Point, truth: str) -> list[float]:
    """The truth at the advised point minus at the last one, in standard deviations of the base's scores."""
    return interval(chosen.changes[truth] - last.changes[truth])


def interval(values: Sequence[float]) -> list[float]:
    """Mean and its 95 % interval over prompts."""
    mean = mean_interval(values)
    return [mean.value, mean.low, mean.high]


if __name__ == "__main__":
    main()

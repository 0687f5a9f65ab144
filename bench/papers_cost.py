"""What ``kedge reproduce --world papers`` would cost on an H100: ``python -m bench.papers_cost`` counts, runs nothing.

Every row of ROCM's Table 1, trained on PickScore, and every run of RLCM's tasks, by the arithmetic of
``kedge plan``: the operations of one optimizer step on the true architectures, times the data sheet's rates, times the
steps. The record goes to docs/records/papers-cost.json, from which ``make docs`` writes the table in docs/reproduce.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from kedge.planning.datasheet import CALL, H100, REACHED, seconds_on
from kedge.planning.step import count_step
from kedge.workflows.runner.cost import step_cost
from kedge.workflows.runner.runs import Run
from kedge_papers.runner.experiment_set import load_experiment_set
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.targets.rlcm_runs import TITLES, task_run

RECORD = Path(__file__).parents[1] / "docs" / "records" / "papers-cost.json"
REWARD = "pickscore"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RECORD)
    arguments = parser.parse_args()
    rows = []
    for group, run in runs():
        rows.append({"group": group, **cost_of(run)})
        print(json.dumps(rows[-1]), flush=True)
    record = {"device": H100.name, "reached": REACHED, "call": CALL, "reward": REWARD, "rows": rows}
    arguments.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(arguments.out)


def runs() -> list[tuple[str, Run]]:
    """The heading of each group, and its runs."""
    options = MatrixOptions(load_experiment_set("papers"), "papers")
    rows = [("Table 1", options.row(method, REWARD, 0, {})) for method in options.experiments.methods]
    for task, of_task in options.experiments.tasks.items():
        rows += [(of_task.title, task_run(options, task, method, 0, {})) for method in TITLES]
    return rows


def cost_of(run: Run) -> dict[str, Any]:
    """One run, on one device."""
    config = run.config()
    cost = count_step(config)
    if cost is None:
        raise ValueError(f"{run.name}: the architecture of {config.model.name} is not known")
    passes = step_cost(config)
    steps, each = config.training.steps, seconds_on(H100, cost.step)
    return {
        "run": run.name,
        "title": run.title,
        "steps": steps,
        "queries": round(passes.queries * steps),
        "passes": round(passes.passes * steps),
        "tflop_a_step": cost.step.flops / 1e12,
        "seconds_a_step": each,
        "hours": steps * each / 3600,
    }


if __name__ == "__main__":
    main()

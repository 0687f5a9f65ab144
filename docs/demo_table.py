"""What ``make demo`` came to, for README and results: from a record of one run.

``python -m docs.demo_table runs/demo`` writes the record, docs/records/demo.json, from the folder that ``make demo``
left: the score of every picture of base and tuned model, what the run was told, and where it ran.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from docs.marked import filled

from kedge.config import load_config
from kedge.evaluation.comparison import Comparison, compare
from kedge.evaluation.diversity import DIVERSITIES
from kedge.evaluation.guard import judge_comparison
from kedge.evaluation.rendering import render
from kedge.evaluation.result import Evaluation
from kedge.evaluation.run_log import read_log
from kedge.evaluation.tables import comparison_table
from kedge.runs.folder import RunFolder
from kedge_papers.records.run_record import plain_json

RECORD = Path(__file__).parent / "records" / "demo.json"


def with_demo(page: str) -> str:
    """A page with what stands between the marks as the record has it."""
    return filled(page, "demo", RECORD.name, text())


def text() -> str:
    """What was run, the table, the verdict."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    tuned, base = (Evaluation.from_dict(record[name]) for name in ("tuned", "base"))
    comparison = compare(tuned, base)
    prompts = len(set(base.prompts))
    pictures, steps, seconds = len(base.prompts) // prompts, record["steps"], round(record["seconds"])
    what = (
        f"`make demo` on {record['cores']} x86 cores printed this: {steps} ROCM steps with KL towards a learned "
        f"preference model ({seconds} seconds, one seed), measured on {prompts} captions of animals that no model has "
        f"seen at these activities, {pictures} pictures each; {record['watched']} of the captions were watched while "
        "it trained:"
    )
    verdict = judge_comparison(comparison, [record["reward"]])
    return f"{what}\n\n{render(comparison_table(comparison), 'markdown')}\n{alike(comparison)} {verdict.sentence}\n"


def alike(comparison: Comparison) -> str:
    """How much of the base's diversity is left."""
    shares = {change.metric: change.remaining for change in comparison.statistics}
    left = []
    for metric, where in zip(DIVERSITIES, ("within a prompt", "between prompts"), strict=True):
        if (share := shares.get(metric)) is not None:
            left.append(f"{100 * share.value:.0f} % {where}")
    return f"Of the base's diversity {' and '.join(left)} are left. The verdict that was printed below it:"


def record_of(folder: Path) -> dict[str, Any]:
    """What ``make demo`` left, without the pictures."""
    config, home = load_config(folder / "config.yaml"), RunFolder(folder)
    environment = json.loads((folder / "env.json").read_text(encoding="utf-8"))
    log = read_log(home.metrics)
    record: dict[str, Any] = {
        "commit": environment["git"]["commit"],
        "cores": environment["cores"],
        "base_model": environment["base"],
        "reward": config.reward,
        "steps": config.training.steps,
        "watched": config.watch.held_out.count if config.watch.held_out else 0,
        "seconds": sum(line.get("seconds") or 0.0 for line in log),
    }
    for name in ("base", "tuned"):
        evaluation = json.loads((folder / "evaluation" / f"{name}.json").read_text(encoding="utf-8"))
        evaluation["statistics"] = {
            key: values for key, values in evaluation["statistics"].items() if key in DIVERSITIES
        }
        record[name] = {**evaluation, "name": name, "summary": {}}
    return dict(plain_json(record))


if __name__ == "__main__":
    RECORD.write_text(json.dumps(record_of(Path(sys.argv[1])), ensure_ascii=False) + "\n", encoding="utf-8")
    print(RECORD)

"""What the papers' own experiments would cost, from the record that ``python -m bench.papers_cost`` writes."""

from __future__ import annotations

import json
from pathlib import Path

from docs.marked import filled

RECORD = Path(__file__).parent / "records" / "papers-cost.json"


def with_cost(page: str) -> str:
    """The page on reproducing with the table as the record has it."""
    return filled(page, "cost", RECORD.name, table())


def table() -> str:
    """A row for each run."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    lines = [
        f"| | run | steps | queries | network passes | TFLOP a step | hours on an {record['device']}, computed |",
        "|:---|:---|---:|---:|---:|---:|---:|",
    ]
    for row in record["rows"]:
        costs = f"{row['steps']:,} | {row['queries']:,} | {row['passes']:,} | {row['tflop_a_step']:,.0f}"
        lines.append(f"| {row['group']} | {row['title']} | {costs} | {row['hours']:.2g} |")
    share, call = 100 * record["reached"], 1e6 * record["call"]
    note = (
        f"**Computed, not measured**: the operations of a step, counted on the true architectures, at {share:.0f} % of "
        f"the data sheet's rates and {call:.0f} µs of the host for each. One device, one seed; Table 1's are trained "
        "on PickScore. Loading, checkpoints and the final evaluation are left out."
    )
    return "\n".join([*lines, "", note]) + "\n"

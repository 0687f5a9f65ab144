"""The table of what the frontier's advice is worth, from the record that ``python -m bench.advice`` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from docs.marked import filled

from kedge.evaluation.tables import display

RECORD = Path(__file__).parent / "records" / "advice.json"
STEP, STRENGTH = "gained", "gained by strength"


def with_advice(page: str) -> str:
    """The page on evaluation with the table as the record has it."""
    return filled(page, "advice", RECORD.name, table())


def table() -> str:
    """Kinds of runs down; what was advised, and what the truth says of it, across."""
    runs = json.loads(RECORD.read_text(encoding="utf-8"))
    kinds: dict[tuple[str, float, float], list[Mapping[str, Any]]] = {}
    for run in runs.values():
        kinds.setdefault((run["trained"], run["beta"] or 0.0, run["last"]), []).append(run)
    heads = (
        "trained on",
        "β",
        "runs",
        "truth at the end",
        "steps",
        "step advised",
        "truth there − at the end",
        "strength advised",
        "truth there − at full",
    )
    lines = [f"| {' | '.join(heads)} |", "|:---" + "|---:" * (len(heads) - 1) + "|"]
    for (trained, beta, last), same in sorted(kinds.items()):
        end = _signed(np.mean([run["at the end"][0] for run in same]))
        cells = [f"{beta:g}", str(len(same)), end, f"{last:g}", _range(same, "step"), _worth(same, STEP)]
        cells += [_range(same, "strength"), _worth(same, STRENGTH)]
        lines.append(f"| {display(trained).title} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", sentence(list(runs.values()))]) + "\n"


def sentence(runs: Sequence[Mapping[str, Any]]) -> str:
    """In how many runs the truth at the advised point is at least as high as at the end."""
    parts = []
    for key, what in ((STEP, "step"), (STRENGTH, "strength")):
        known = [run[key] for run in runs if key in run]
        if known:
            least = sum(value >= 0 for value, _, _ in known)
            lower = sum(high < 0 for _, _, high in known)
            held = f"at the advised {what} at least as high as at the end in {least} of {len(known)} runs"
            parts.append(f"{held}, lower beyond chance in {lower}")
    return (
        f"The truth is {'; '.join(parts)}. It is in standard deviations of the base's scores, on the pictures that the "
        "judges chose by, and never seen by them; means over runs, ranges of what was advised. Of some runs a step was "
        'advised, of others a strength: "of" counts those.'
    )


def _signed(value: float | np.floating[Any]) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _range(runs: Sequence[Mapping[str, Any]], key: str) -> str:
    known = [run[key] for run in runs if key in run]
    if not known:
        return "–"
    low, high = min(known), max(known)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _worth(runs: Sequence[Mapping[str, Any]], key: str) -> str:
    """The mean over runs, and in how many it is not below 0."""
    known = [run[key][0] for run in runs if key in run]
    if not known:
        return "–"
    return f"{_signed(np.mean(known))} ({sum(value >= 0 for value in known)} of {len(known)} not below 0)"

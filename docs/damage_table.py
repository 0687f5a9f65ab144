"""The table of which judges see damage, from the record that ``python -m bench.damage`` writes."""

from __future__ import annotations

import json
from pathlib import Path

from docs.marked import filled

from kedge.evaluation.tables import display
from kedge.rewards import REWARDS

RECORD = Path(__file__).parent / "records" / "damage.json"


def with_damage(page: str) -> str:
    """The page on rewards with the table as the record has it."""
    return filled(page, "damage", RECORD.name, table())


def table() -> str:
    """Judges down, distances across."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    distances = record["distances"]
    heads = [f"KL {distance['kl']:.0f}" for distance in distances]
    lines = [
        f"{record['adapters']} random adapters at each distance on {record['model']}, {record['prompts']} prompts × "
        f"{record['pictures']} pictures; change in standard deviations of the base's scores, with 95 % intervals over "
        "adapters and prompts.\n",
        f"| judge | {' | '.join(heads)} | sees damage |",
        "|:---|" + "---:|" * len(heads) + ":---|",
    ]
    for metric in distances[0]["changes"]:
        cells = [_cell(distance["changes"][metric], metric) for distance in distances]
        lines.append(f"| {display(metric).title} | {' | '.join(cells)} | {_says(metric)} |")
    return "\n".join(lines) + "\n"


def _cell(interval: list[float], metric: str) -> str:
    value, low, high = interval
    if metric.startswith("diversity"):
        return f"{100 * value:.0f} % ({100 * low:.0f} to {100 * high:.0f})"
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})".replace("-", "−")


def _says(metric: str) -> str:
    """What the catalogue states."""
    spec = REWARDS.get(metric.partition("@")[0])
    if spec is None:
        return ""
    return "the truth" if spec.truth else {True: "yes", False: "no", None: "not measured"}[spec.sees_damage]

"""What the last step is to policy gradients, from the record that ``python -m bench.last_step`` writes."""

from __future__ import annotations

import json
from pathlib import Path

from docs.marked import filled

RECORD = Path(__file__).parent / "records" / "last-step.json"
HIDDEN = "–"  # behind the noise


def with_last_step(page: str) -> str:
    """The page on policy gradients with the table as the record has it."""
    return filled(page, "last step", RECORD.name, table())


def table() -> str:
    """A row for each number of sampling steps."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    lines = [
        "| sampling steps | part not seen | cosine of what is seen | variance, last step scored / not |",
        "|---:|---:|---:|---:|",
    ]
    for row in record["horizons"]:
        unseen, cosine, ratio = row["unseen"], row["cosine"], row["variance_ratio"]
        seen = _plain([*cosine[:2], min(1.0, cosine[2])], 3) if cosine else HIDDEN
        cells = [_share(unseen) if unseen else HIDDEN, seen, _plain(ratio, 2)]
        lines.append(f"| {row['steps']} | {' | '.join(cells)} |")
    batches = record["batches"]
    note = (
        f"`python -m bench.last_step --batches {batches}`: {record['model']} before any training, towards "
        f"{record['reward']}, {batches} batches of {record['samples']} pictures from the same prompts and noise; 95 % "
        "intervals over batches. The part that is not seen: its length as a share of the whole gradient's."
    )
    if not record.get("pairs"):
        note += (
            " Recorded before lengths were taken from pairs of different batches: noise is in them, so that shares are "
            "too large and their intervals too short."
        )
    return "\n".join([*lines, "", note]) + "\n"


def _share(values: list[float]) -> str:
    value, low, high = (100 * x for x in values)
    return f"{value:.0f} % ({max(0.0, low):.0f} to {high:.0f})"


def _plain(values: list[float], digits: int) -> str:
    value, low, high = values
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

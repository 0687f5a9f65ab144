"""What a drawn depth costs in noise, from the record that ``python -m bench.random_depth`` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from docs.marked import filled

RECORD = Path(__file__).parent / "records" / "random-depth.json"


def with_random_depth(page: str) -> str:
    """The page on memory with the table as the record has it."""
    return filled(page, "random depth", RECORD.name, table(json.loads(RECORD.read_text(encoding="utf-8"))))


def table(record: Mapping[str, Any]) -> str:
    """A row for each way back, on the chain and on the model."""
    lines = [
        "| `backprop` | chain: steps back | variance | along the full gradient | model: steps back | variance "
        "| along the full gradient | cosine between batches |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    chain, model = record["chain"]["ways"], record["model"]["ways"]
    for name, ours in chain.items():
        theirs = model[name]
        cells = [f"`{name}`" if ":" in name else name, *_of(ours), *_of(theirs), _number(theirs["cosine"])]
        lines.append(f"| {' | '.join(cells)} |")
    note = (
        f"`python -m bench.random_depth`: the trace of the gradient's variance beside the full one's, and the length "
        f"of its expectation along the full one (1: unbiased); batches of {record['samples']} "
        f"from the same prompts and noise, one depth for each batch; 95 % intervals over batches. Chain: "
        f"{record['dimensions']} latents, K = {record['chain']['steps']}, {record['chain']['batches']} batches. "
        f"Model: {record['model']['name']} before any training, towards {record['reward']}, K = "
        f"{record['model']['steps']}, {record['model']['batches']} batches."
    )
    return "\n".join([*lines, "", note]) + "\n"


def _of(way: Mapping[str, Any]) -> list[str]:
    return [f"{way['depth']:.1f}", _number(way["variance"]), _number(way["along"])]


def _number(values: Sequence[float]) -> str:
    value, low, high = values
    digits = 2 if abs(value) < 10 else 0
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

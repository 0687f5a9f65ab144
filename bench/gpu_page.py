"""The page of bench.gpu, from its record alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bench.gpu_cases import PARTS
from bench.hardware import peak_of

NOTE = "<!-- Written from docs/records/gpu.json by `python -m bench.gpu`: change nothing here. -->"
GIVEN = 8e9  # bytes of the smallest card that a recipe is for
TITLES = {
    "8gb": "512 pixels on a card of 8 GB",
    "speed": "The fastest setting",
    "memory": "What each key saves",
    "flow": "Flow transformers at reduced depth",
    "compile": "Compiled",
}
HEAD = (
    "| | pictures at once | s a step | s a picture | share of peak | peak GB | planned s | planned GB |\n"
    + "|---" * 8
    + "|"
)


def page_of(record: Mapping[str, Any]) -> str:
    """Every part that was measured."""
    rows, peak = record["rows"], peak_of(record["hardware"])
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items() if version)
    lines = [NOTE, "", f"# On {record['hardware']}", "", *about(record, versions), *best(rows, peak)]
    for part, cases in PARTS.items():
        known = [case for case in cases if case.key in rows]
        if known:
            lines += ["", f"## {TITLES[part]}", "", HEAD]
            lines += [table_row(case.name, rows[case.key], peak) for case in known]
        if part == "8gb" and known and "error" not in rows[known[0].key]:
            needed = rows[known[0].key]["peak"]
            fits = "fits" if needed < GIVEN else "does not fit"
            lines += ["", f"`rocm-8gb` needs {needed / 1e9:.2f} GB of tensors: it {fits} into 8 GB."]
    return "\n".join(lines) + "\n"


def about(record: Mapping[str, Any], versions: str) -> list[str]:
    """What was measured."""
    small = "" if record["scale"] == 1 else f" **Tried at {record['scale']:g} of the true width: no result.**"
    return [
        f"`python -m bench.gpu`; {versions}. True architectures with random weights, bfloat16, LoRA of rank 16, ROCM "
        "with KL; Stable Diffusion 1.5 LCM at 512 px in 8 steps with a reward of HPSv2's size, unless a row names "
        "another model. Seconds of an optimizer step, median of three after one; peak of all tensors on the device, "
        f"weights included; planned: what `kedge plan` says of the same recipe on this device.{small}",
    ]


def best(rows: Mapping[str, Mapping[str, Any]], peak: float | None) -> list[str]:
    """The fastest of Stable Diffusion's rows."""
    full = {key: row for key, row in rows.items() if key.startswith(("speed", "compile")) and "error" not in row}
    full = {key: row for key, row in full.items() if "random depth" not in key}  # another gradient in each step
    if not full:
        return []
    key = min(full, key=lambda name: full[name]["seconds"] / full[name]["batch"])
    row = full[key]
    each = f"{row['seconds'] / row['batch']:.3g} s a picture"
    share = f", {share_of(row, peak)} of the data sheet's peak" if peak else ""
    return ["", f"Fastest with the gradient of every step: {key.partition(': ')[2]}, {each}{share}."]


def share_of(row: Mapping[str, Any], peak: float | None) -> str:
    """Of the peak in half precision."""
    return f"{row['flops'] / row['seconds'] / peak:.0%}" if peak else ""


def table_row(name: str, row: Mapping[str, Any], peak: float | None) -> str:
    """A line of a table."""
    if "error" in row:
        return f"| {name} | | {row['error'].replace('|', '/')} | | | | | |"
    planned = "" if row["planned_seconds"] is None else against(row["planned_seconds"], row["seconds"])
    cells = [
        name if math.isfinite(row["gradient_norm"]) else f"{name} (**gradient not finite**)",
        str(row["batch"]),
        f"{row['seconds']:.3g}",
        f"{row['seconds'] / row['batch']:.3g}",
        share_of(row, peak),
        f"{row['peak'] / 1e9:.2f}",
        planned,
        against(row["planned_peak"] / 1e9, row["peak"] / 1e9),
    ]
    return f"| {' | '.join(cells)} |"


def against(planned: float, measured: float) -> str:
    """A plan and how far off it was."""
    return f"{planned:.3g} ({planned / measured - 1:+.0%})" if measured else f"{planned:.3g}"

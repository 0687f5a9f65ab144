"""What the demo comes to over seeds, for README and results: from the record that ``python -m bench.demo`` writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docs.marked import filled

from kedge.evaluation.statistics import Interval
from kedge.evaluation.tables import decimals, display

RECORDS = Path(__file__).parent / "records"
PRESETS = {  # marks on the pages → their record, which is called as its preset is, and what was run
    "seeds": ("emoji-rocm", "ROCM with KL towards a learned preference model"),
    "auto": ("emoji-auto", "ROCM with KL at most, whose β finds itself until judges stop it"),
    "hacking": ("emoji-hacking", "the same without an anchor"),
    "vqa": ("emoji-rocm-vqa", "ROCM with KL towards what a vision-language model answers, with floors"),
    "vqa-alone": ("emoji-rocm-vqa-alone", "the same without floors"),
    "vqa-free": ("emoji-rocm-vqa-free", "the same with floors, without an anchor and twice as fast"),
    "flow": ("emoji-flow-rocm", "ROCM with KL on the flow model, towards PickScore"),
    "flow-rlcm": ("emoji-flow-rlcm", "RLCM on the flow model, towards PickScore"),
    "vqa-free-alone": ("emoji-rocm-vqa-free-alone", "the same without an anchor and without floors"),
}
SIGNS = {  # what the alarm reads → its word in the table
    "jury": "judges",
    "diversity_within": "variety within a prompt",
    "diversity_between": "variety between prompts",
}
JUDGES = ("imagereward@emoji", "blipscore@emoji", "hpsv2@emoji", "pickscore@emoji", "oracle")
FLOORED = ("vqa@emoji", "clipscore@emoji", "aesthetic@emoji", *JUDGES)  # two have floors, the others have none
FLOW = ("pickscore@emoji", "clipscore@emoji", "aesthetic@emoji", *JUDGES[:2], "vqa@emoji", "oracle")
ACTIVITY = "The oracle's activity part"
SHORT = ("pickscore@emoji", "imagereward@emoji", "blipscore@emoji", "oracle")  # what fits on the README's first screen


@dataclass(frozen=True)
class SeedsTable:
    """Which part of a record stands on a page.

    Attributes:
        page: its path in the checkout.
        name: the marks between which it stands, of :data:`PRESETS`.
        seeds: so many of the record's; None takes all.
        metrics: these of the record's; none takes all, and what is told beside them.
    """

    page: str
    name: str
    seeds: int | None = None
    metrics: tuple[str, ...] = ()


TABLES = (
    SeedsTable("README.md", "seeds", 3, SHORT),
    SeedsTable("docs/results/README.md", "seeds"),
    SeedsTable("docs/results/README.md", "hacking"),
    SeedsTable("docs/algorithms/distance.md", "auto", metrics=SHORT),
    SeedsTable("docs/rewards.md", "vqa"),
    SeedsTable("docs/rewards.md", "vqa-alone"),
    SeedsTable("docs/rewards.md", "vqa-free", metrics=FLOORED),
    SeedsTable("docs/rewards.md", "vqa-free-alone", metrics=FLOORED),
    SeedsTable("docs/models.md", "flow", metrics=FLOW),
    SeedsTable("docs/models.md", "flow-rlcm", metrics=FLOW),
)


def with_seeds(page: str, text: str) -> str:
    """A page's text with every table that stands on it."""
    for table in TABLES:
        if table.page == page:
            text = filled(text, table.name, f"{PRESETS[table.name][0]}.json", block(table))
    return text


def block(table: SeedsTable) -> str:
    """What was run, the table with a column for each seed, the verdicts."""
    preset, what = PRESETS[table.name]
    record = json.loads((RECORDS / f"{preset}.json").read_text(encoding="utf-8"))
    rows, metrics = record["seeds"][: table.seeds], table.metrics
    steps, seconds = record["steps"], [row["seconds"] for row in rows]
    lines = [
        f"{steps} steps of {what} ({min(seconds):.0f} to {max(seconds):.0f} "
        f"seconds of training and looking on {record['environment']['threads']} x86 core), measured on "
        f"{record['prompts']} captions that it neither trained on nor watched, of animals that no model has seen at "
        f"these activities, {record['pictures']} pictures each:\n",
        "| | base | " + " | ".join(f"seed {row['seed']}" for row in rows) + " |",
        "|:---|---:|" + "---:|" * len(rows),
    ]
    for metric in metrics or record["base"]:
        differences = [row["changes"][metric]["difference"] for row in rows]
        lines.append(_row(display(metric).title, record["base"][metric][0], differences))
    if "activity" in rows[0]:
        lines.append(_row(ACTIVITY, rows[0]["activity"]["base"], [row["activity"]["difference"] for row in rows]))
    for metric, change in rows[0]["changes"].items():
        if "remaining" in change:
            cells = [f"{100 * row['changes'][metric]['remaining']['value']:.0f} %" for row in rows]
            lines.append(f"| {display(metric).title}, of the base's | 100 % | {' | '.join(cells)} |")
    if not metrics:
        shares = [_most_changed(row["backgrounds"], record["backgrounds"]["base"]) for row in rows]
        lines.append(f"| A background's share changed by at most, of the base's | | {' | '.join(shares)} |")
        lines.append(
            f"| The alarm sounded first at step | | {' | '.join(_alarm(row['first_signs']) for row in rows)} |"
        )
    lines.append(f"| Verdict | | {' | '.join(row['verdict'] for row in rows)} |")
    lines.append("\n± is half of the 95 % interval over prompts; differences are paired (same prompts, same noise).")
    return "\n".join(lines) + "\n"


def _row(title: str, base: float, differences: list[dict[str, Any]]) -> str:
    """The base's mean, and each seed's paired difference from it."""
    intervals = [Interval(**difference) for difference in differences]
    digits = decimals(intervals)
    cells = [f"{each.value:+.{digits}f} ± {each.half_width:.{digits}f}" for each in intervals]
    numbers = " | ".join([f"{base:.{digits}f}", *cells]).replace("-", "−")
    return f"| {title} | {numbers} |"


def _most_changed(tuned: dict[str, float], base: dict[str, float]) -> str:
    changes = [abs(tuned[name] / base[name] - 1) for name in base]
    return f"{100 * max(changes):.0f} %"


def _alarm(first_signs: dict[str, int | None]) -> str:
    """The step of the alarm, and of what had fallen before it."""
    sounded = first_signs["alarm"]
    if sounded is None:
        return "–"
    signs = {SIGNS[name.partition("/")[2]]: step for name, step in first_signs.items() if "/" in name}
    earlier = [f"{sign} {step}" for sign, step in signs.items() if step is not None and step < sounded]
    return f"{sounded} ({', '.join(earlier)})" if earlier else str(sounded)

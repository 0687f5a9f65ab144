"""The table of which rewards may judge a model that was trained on which, from what the catalogue states of each."""

from __future__ import annotations

from docs.marked import filled

from kedge.evaluation.judges import standing
from kedge.rewards import REWARDS

TRAINED = ("pickscore", "hpsv2", "hpsv3", "aesthetic", "clipscore", "blipscore", "imagereward", "vqa")
VARIANTS = ("clipscore-torchmetrics", "clipscore-hessel", "blipscore-itm")  # other conventions of what is listed


def with_judges(page: str) -> str:
    """The page on rewards with the table as the catalogue has it today."""
    return filled(page, "judges", "catalogue.py", table(), folder="src/kedge/rewards")


def table() -> str:
    """Trained rewards down; who clears a model that was trained on each: of published weights, of the bundled ones."""
    lines = ["| trained on | judges that clear it | and in the emoji world |", "|:---|:---|:---|"]
    for name in TRAINED:
        cells = [_judges(name, ""), _judges(name, "@emoji") if REWARDS[name].in_world else "(not there)"]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _judges(trained: str, source: str) -> str:
    names = []
    for name, spec in REWARDS.items():
        there = spec.in_world if source else bool(spec.parts)
        if there and name not in VARIANTS and standing(name + source, [trained + source]).clears:
            names.append(f"`{name}`")
    return ", ".join(names) or "none"

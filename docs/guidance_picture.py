"""What ω does to the consistency model, from the card's record: share of activities drawn, and the oracle."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib

from kedge.worlds.emoji.atlas import ASSETS
from kedge.worlds.emoji.build.card import RECORD

PICTURE = Path(__file__).parent / "images" / "guidance.png"
PANELS = {"acting": "pictures that draw the activity", "total": "oracle (true preference)"}


def drawn() -> bytes:
    """The figure as a PNG."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = over_omega(json.loads((ASSETS / RECORD).read_text(encoding="utf-8"))["settings"])
    omegas = [row["omega"] for row in rows]
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
    for axis, (part, title) in zip(axes, PANELS.items(), strict=True):
        for prompts, marker in (("activities", "o"), ("held out", "s")):
            axis.plot(omegas, [row[prompts][part] for row in rows], marker=marker, label=prompts)
        axis.set(xlabel="ω", title=title, ylim=(0, 1.05))
    axes[0].legend(title="captions", loc="center left")
    file = BytesIO()
    figure.savefig(file, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return file.getvalue()


def over_omega(settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one number of steps, that with the most ω, in ω's order."""
    steps = [row["steps"] for row in settings]
    most = max(set(steps), key=steps.count)
    return sorted((row for row in settings if row["steps"] == most), key=lambda row: float(row["omega"]))


if __name__ == "__main__":
    PICTURE.write_bytes(drawn())
    print(PICTURE)

"""The card among the assets: how the weights were made, on what, how long, and how good they are."""

from __future__ import annotations

import json
from pathlib import Path

from kedge.worlds.emoji.atlas import ASSETS

HEAD = """# The emoji world's weights

Made by the recipe in this package (`kedge world build`, then `kedge world build install`), seeded, on pictures that it
draws itself: no other data went in. The stages below were run one after the other, some of them in several sittings.
The sprites are cut from the Noto Color Emoji font (SIL Open Font License, `LICENSE-OFL.txt`); everything else is
Apache-2.0, as Kedge is.

- `emoji-diffusion/`: opens with `diffusers.StableDiffusionPipeline` (20 DDIM steps, v-prediction, half precision).
- `emoji-lcm/`: opens with `diffusers.LatentConsistencyModelPipeline` (1 to 8 steps), distilled from it.
- `clip/`, `pickscore/`: transformers' `CLIPModel`; `aesthetic.pth`: LAION's head, over `clip/`.
- `scales.json`: mean and standard deviation of each reward over emoji-lcm's pictures.
"""


def write_card(folder: Path) -> None:
    """Write ``assets/README.md`` from the build's log; the newest note of each kind counts."""
    notes = [json.loads(line) for line in (folder / "build.jsonl").read_text().splitlines()]
    stages = {note["stage"]: note for note in notes if "stage" in note}
    models = {note["model"]: note for note in notes if "model" in note}
    rewards = {note["reward"]: note for note in notes if "reward" in note}
    lines = [HEAD, "## Quality, by the oracle", ""]
    lines += ["| model | prompts | right animals | oracle | animal | number | place | background | clean | activity |"]
    lines += ["|" + "---|" * 10]
    for name, note in models.items():
        for prompts in ("held out", "activities"):
            s = note[prompts]
            cells = [f"{s[part]:.2f}" for part in ("animal", "number", "place", "background", "clean", "activity")]
            lines.append(f"| {name} | {prompts} | {s['right']:.1%} | {s['total']:.3f} | {' | '.join(cells)} |")
    lines += ["", "## Rewards", "", "| reward | measured on held-out prompts |", "|---|---|"]
    for name, note in rewards.items():
        if "pairwise_accuracy" in note:
            lines.append(f"| {name} | agrees with the oracle on {note['pairwise_accuracy']:.1%} of pairs |")
        else:
            lines.append(f"| {name} | correlation with the true taste {note['correlation_with_taste']:.2f} |")
    lines += ["", "## How they were made", "", "| stage | steps × images | device, torch |", "|---|---|---|"]
    for name, note in stages.items():
        if "steps" in note:
            lines.append(f"| {name} | {note['steps']} × {note['batch']} | {note['device']}, {note['torch']} |")
    (ASSETS / "README.md").write_text("\n".join(lines) + "\n")

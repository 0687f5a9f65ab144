"""The card among the assets: how the weights were made, on what, how long, and how good they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kedge.worlds.emoji.atlas import ASSETS

HEAD = """# The emoji world's weights

Made by the recipe in this package (`kedge world build`, then `kedge world build install`), seeded, on pictures that it
draws itself: no other data went in. The stages below were run one after the other, some of them in several sittings.
The sprites are cut from the Noto Color Emoji font (SIL Open Font License, `LICENSE-OFL.txt`); everything else is
Apache-2.0, as Kedge is.

- `emoji-diffusion/`: opens with `diffusers.StableDiffusionPipeline` (20 DDIM steps, v-prediction, half precision).
- `emoji-lcm/`: opens with `diffusers.LatentConsistencyModelPipeline` (1 to 8 steps), distilled from it.
- `clip/` (CLIPScore), `pickscore/`: transformers' `CLIPModel`; `aesthetic.pth`: LAION's head, over `clip/`.
- `hpsv2/`: open_clip's checkpoint; `blip/`: BLIP's; `imagereward/`: ImageReward's, each as published.
- `captioner/`: transformers' `BlipForConditionalGeneration`; `bert/`: `BertModel`, by which its words are compared with
  the prompt's (`alignment@emoji`).
- `scales.json`: mean and standard deviation of each reward over emoji-lcm's pictures.

In `emoji-lcm/`, `vae` and `text_encoder` are links to `emoji-diffusion/`'s: they are the same.
"""

LEARNED = {
    "pickscore": "CLIP; votes on pairs by the oracle's total",
    "hpsv2": "CLIP; fewer prompts, unsteadier votes, for cleanness almost as much as for the oracle's total",
    "clipscore": "no votes: pictures and captions told apart",
    "aesthetic": "no prompts: ratings of cleanness and colour",
    "blipscore": "no votes: a network of its own, pictures and captions told apart",
    "blipscore-itm": "no votes: the same network, pictures and captions matched",
    "imagereward": "BLIP; rankings by what the prompt asks, whatever the cleanness",
    "alignment": "no votes: a captioner's words, compared with the prompt",
}


def _newest(notes: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """The last note about each ``kind``."""
    return {note[kind]: note for note in notes if kind in note}


def write_card(folder: Path) -> None:
    """Write ``assets/README.md`` from the build's log; the newest note of each kind counts."""
    notes = list(map(json.loads, (folder / "build.jsonl").read_text().splitlines()))
    stages, models, rewards = _newest(notes, "stage"), _newest(notes, "model"), _newest(notes, "reward")
    lines = [HEAD, "## Quality, by the oracle", ""]
    lines += ["| model | prompts | right animals | oracle | animal | number | place | background | clean | activity |"]
    lines += ["|" + "---|" * 10]
    for name, note in models.items():
        for prompts in ("held out", "activities"):
            s = note[prompts]
            cells = [f"{s[part]:.2f}" for part in ("animal", "number", "place", "background", "clean", "activity")]
            lines.append(f"| {name} | {prompts} | {s['right']:.1%} | {s['total']:.3f} | {' | '.join(cells)} |")
    lines += _rewards([note for note in notes if "correlation" in note][-1])
    taste = rewards["aesthetic"]["correlation_with_taste"]
    lines += ["", f"The aesthetic head's ratings correlate with the true taste by {taste:.2f}."]
    lines += ["", "## How they were made", "", "| stage | steps × images | device, torch |", "|---|---|---|"]
    for name, note in stages.items():
        if "steps" in note:
            lines.append(f"| {name} | {note['steps']} × {note['batch']} | {note['device']}, {note['torch']} |")
    (ASSETS / "README.md").write_text("\n".join(lines) + "\n")


def _rewards(note: dict[str, Any]) -> list[str]:
    """Each reward against the oracle, and the rewards against each other."""
    lines = ["", "## Rewards", "", "On pictures that no judge was trained on: ten candidates for each of "]
    lines[-1] += f"{note['prompts']} prompts in pairs; {note['pictures']} good ones with their prompt and a wrong one."
    lines += [
        "",
        "| reward | learned from | orders pairs as the oracle | prefers the right prompt |",
        "|---|---|---|---|",
    ]
    for name, share in note["accuracy"].items():
        right = note["prompt_accuracy"].get(name)
        lines.append(f"| {name} | {LEARNED[name]} | {share:.1%} | {'' if right is None else f'{right:.1%}'} |")
    names = list(note["correlation"])
    lines += ["", "Correlation of the scores within a prompt's pictures:", ""]
    lines += ["| | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    for name, row in note["correlation"].items():
        lines.append(f"| {name} | " + " | ".join(f"{row[other]:.2f}" for other in names) + " |")
    return lines

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
- `answerer/`: transformers' `Qwen2VLForConditionalGeneration`, which answers Yes or No (`vqa@emoji`).
- `scales.json`: mean and standard deviation of each reward over emoji-lcm's pictures.

In `emoji-lcm/`, `vae` and `text_encoder` are links to `emoji-diffusion/`'s: they are the same.
"""

FLOW = """- `emoji-flow/`: opens with `diffusers.ZImagePipeline` (4 steps, no guidance; ask it for 32 × 32 pixels): a
  flow transformer of 2.7 million parameters with a text encoder of 0.24 million, trained by flow matching and then
  distilled with a guidance of ω = 1. Its autoencoder's weights are those of the others.
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
    "vqa": "no votes: a vision-language model of its own, scenes with true and false captions",
}


PARTS = ("animal", "number", "place", "background", "clean", "activity")
TRUE_SCENES = {"scenes": "true scenes", "activities": "all activities"}
PROMPTS = ("held out", "activities")
RECORD = "measured.json"


def write_card(folder: Path, assets: Path = ASSETS) -> None:
    """Write ``measured.json`` and ``README.md`` among the assets, from the build's log in ``folder``."""
    notes = [json.loads(line) for line in (folder / "build.jsonl").read_text().splitlines()]
    measured = measurements(notes)
    (assets / RECORD).write_text(json.dumps(measured, indent=1) + "\n")
    (assets / "README.md").write_text(card(measured))


def measurements(notes: list[dict[str, Any]]) -> dict[str, Any]:
    """What a build's log says in the end: of each kind, and of each model and reward, its newest note.

    Of each stage, the notes of its sittings since it last began anew.
    """
    measured: dict[str, Any] = {"stages": {}, "models": {}, "rewards": {}}
    for note in notes:
        if "stage" in note:
            earlier = measured["stages"].get(note["stage"], []) if note.get("from_step") else []
            measured["stages"][note["stage"]] = [*earlier, note]
        elif "model" in note:
            measured["models"][note["model"]] = note
        elif "reward" in note:
            measured["rewards"][note["reward"]] = note
        elif "correlation" in note:
            measured["agreement"] = note
        else:  # autoencoder, settings, flow_steps
            measured |= note
    return measured


def card(measured: dict[str, Any]) -> str:
    """The card's text."""
    flow = measured.get("flow_steps", [])
    lines = [HEAD, *([FLOW] if flow else []), *_autoencoder(measured["autoencoder"]), *_models(measured["models"])]
    lines += _settings("The consistency model", measured["settings"])
    if flow:
        lines += _settings("The flow model", flow)
    lines += _rewards(measured["agreement"])
    taste = measured["rewards"]["aesthetic"]["correlation_with_taste"]
    lines += ["", f"The aesthetic head's ratings correlate with the true taste by {taste:.2f}."]
    if "vqa" in measured["rewards"]:
        lines += ["", _answers(measured["rewards"]["vqa"]["questions"])]
    return "\n".join([*lines, *_stages(measured["stages"])]) + "\n"


def _answers(questions: dict[str, dict[str, float]]) -> str:
    """What the model behind ``vqa`` knows."""
    scenes, activities, correlation = (questions[name] for name in ("scenes", "activities", "correlation"))
    return (
        f"The model behind `vqa` answers {scenes['right']:.1%} of questions about true scenes of held-out combinations "
        "rightly, half of them with the scene's own caption, half with one that differs in one thing "
        f"({scenes['ordered']:.1%} of these pairs get the higher log-odds for the true one); of questions that differ "
        f"in the activity {activities['right']:.1%} ({activities['ordered']:.1%}). Within the pictures that emoji-lcm "
        "draws of an activity its log-odds correlate with the oracle's activity part by "
        f"{correlation['activity']:.2f}, with its verdict by {correlation['total']:.2f}."
    )


def _autoencoder(quality: dict[str, dict[str, float]]) -> list[str]:
    """What is left of true scenes behind encoder and decoder."""
    lines = ["## The autoencoder", "", "True scenes through encoder and decoder, by the oracle (of the originals):", ""]
    lines += ["| scenes | squared error on [0, 1] | activity | clean | right animals |", "|" + "---|" * 5]
    for kind, title in TRUE_SCENES.items():
        q = quality[kind]
        cells = [f"{q['squared_error']:.5f}"]
        cells += [f"{q[part]:.3f} ({q['true_' + part]:.3f})" for part in ("activity", "clean")]
        lines.append(f"| {title} | {' | '.join(cells)} | {q['right']:.1%} |")
    return [*lines, ""]


def _models(models: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["## The models, by the oracle", ""]
    lines += ["| model | prompts | right animals | activity drawn | oracle | " + " | ".join(PARTS) + " |"]
    lines += ["|" + "---|" * (5 + len(PARTS))]
    for name, note in models.items():
        for prompts in PROMPTS:
            q = note[prompts]
            cells = [f"{q['right']:.1%}", f"{q['acting']:.1%}", f"{q['total']:.3f}"]
            cells += [f"{q[part]:.2f}" for part in PARTS]
            lines.append(f"| {name} | {prompts} | {' | '.join(cells)} |")
    return lines


def _settings(model: str, settings: list[dict[str, Any]]) -> list[str]:
    """A model in other numbers of steps, and at other ω."""
    lines = ["", f"{model} in other settings:", ""]
    lines += ["| steps | ω | prompts | right animals | activity drawn | oracle | clean |", "|" + "---|" * 7]
    for setting in settings:
        for prompts in PROMPTS:
            q = setting[prompts]
            cells = [f"{q['right']:.1%}", f"{q['acting']:.1%}", f"{q['total']:.3f}", f"{q['clean']:.2f}"]
            lines.append(f"| {setting['steps']} | {setting['omega']:g} | {prompts} | {' | '.join(cells)} |")
    return lines


def _stages(stages: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines = ["", "## How they were made", "", "| stage | steps × images | time | device, torch |", "|---|---|---|---|"]
    remarks = []
    for name, sittings in stages.items():
        for note in sittings:
            if "remark" in note:
                remarks.append(f"- `{name}`: {note['remark']}.")
            if "steps" not in note:
                continue
            first = note.get("from_step", 0)
            steps = f"{first} to {note['steps']}" if first else str(note["steps"])
            size = f"{steps} × {note['batch']}"
            time = f"{note['seconds'] / 60:.0f} min" if "seconds" in note else "not recorded"
            lines.append(f"| {name} | {size} | {time} | {note['device']}, {note['torch']} |")
    return [*lines, *([""] if remarks else []), *remarks]


def _rewards(note: dict[str, Any]) -> list[str]:
    """Each reward against the oracle, and the rewards against each other."""
    lines = ["", "## Rewards", "", "On pictures that no judge was trained on: ten candidates for each of "]
    lines[-1] += f"{note['prompts']} prompts in pairs; {note['pictures']} good ones with their prompt and with a "
    lines[-1] += "wrong one that shares the animals or the background."
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

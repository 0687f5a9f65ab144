"""The prompt sets of the papers and of the emoji world, by name.

Short lists of plain facts are in the code. Longer ones stay where their authors published them: they are fetched from
the hub, or read from a local file that the user gives.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from kedge.prompts.hub import download, hub_column, hub_file

# The 45 common animals of DDPO, RLCM (section 5.1) and ROCM (section 4).
ANIMALS = (
    "cat dog horse monkey rabbit zebra spider bird sheep deer cow goat lion tiger bear raccoon fox wolf lizard beetle "
    "ant butterfly fish shark whale dolphin squirrel mouse rat snake turtle frog chicken duck goose bee pig turkey fly "
    "llama camel bat gorilla hedgehog kangaroo"
)
# The three activities of the prompt-image alignment task of DDPO and RLCM.
ACTIVITIES = ("washing the dishes", "riding a bike", "playing chess")
IMAGENET_ANIMALS = 398  # the first classes of ImageNet-1k are the animals


@dataclass(frozen=True)
class NamedSet:
    """A set that has a name.

    Attributes:
        count: how many prompts it has; 0 for the emoji world's, which its captions decide.
        about: one line for lists.
        load: gets the prompts.
        hub: where they come from, when that is the hub; a local file may stand in for it.
        local: what that file should be.
    """

    count: int
    about: str
    load: Callable[[], list[str]]
    hub: str | None = None
    local: str = ""


def _animals() -> list[str]:
    return ANIMALS.split()


def _animals_activities() -> list[str]:
    from kedge.worlds.emoji.captions import article

    prompts = []
    for animal in _animals():
        for activity in ACTIVITIES:
            prompts.append(f"{article(animal)} {activity}")
    return prompts


def _imagenet_animals() -> list[str]:
    labels = json.loads(download("huggingface/label-files", "imagenet-1k-id2label.json").read_text(encoding="utf-8"))
    return [labels[str(i)] for i in range(IMAGENET_ANIMALS)]


def _pickapic_train() -> list[str]:
    """4,000 different captions of the training split. ROCM used the 4,000 that SPO published: see ``local``."""
    captions = sorted(set(hub_column("yuvalkirstain/pickapic_v1", "caption", "train")))
    return random.Random(0).sample(captions, 4000)


def _pickapic_validation() -> list[str]:
    return hub_column("yuvalkirstain/pickapic_v1", "caption", "validation_unique")


def _partiprompts_hps() -> list[str]:
    """100 PartiPrompts and 200 of HPSv2's benchmark, as in ROCM's user study (section 4, Figure 3)."""
    parti = hub_file("nateraw/parti-prompts", "PartiPrompts.tsv", "Prompt")
    styles = ("anime", "concept-art", "paintings", "photo")
    hps = []
    for style in styles:
        hps += hub_file("zhwang/HPDv2", f"benchmark/{style}.json")
    draw = random.Random(0)
    return draw.sample(parti, 100) + draw.sample(hps, 200)


def _emoji() -> list[str]:
    from kedge.worlds.emoji.captions import train_prompts

    return train_prompts()


def _emoji_held_out() -> list[str]:
    from kedge.worlds.emoji.captions import held_out_prompts

    return held_out_prompts()


def _emoji_activities() -> list[str]:
    from kedge.worlds.emoji.captions import activity_prompts

    return activity_prompts()


def _emoji_activities_train() -> list[str]:
    from kedge.worlds.emoji.captions import activity_prompts

    return activity_prompts(held_out=False)


def _emoji_activities_held_out() -> list[str]:
    from kedge.worlds.emoji.captions import activity_prompts

    return activity_prompts(held_out=True)


NAMED: dict[str, NamedSet] = {
    "emoji": NamedSet(0, "the emoji world's training captions", _emoji),
    "emoji-held-out": NamedSet(0, "the emoji world's captions that no model has seen", _emoji_held_out),
    "emoji-activities": NamedSet(0, "the emoji world's animals at the three activities", _emoji_activities),
    "emoji-activities-train": NamedSet(0, "those of them that the models saw, rarely", _emoji_activities_train),
    "emoji-activities-held-out": NamedSet(0, "those of them that no model has seen", _emoji_activities_held_out),
    "animals-45": NamedSet(45, "the bare names of 45 common animals (DDPO, RLCM, ROCM)", _animals),
    "animals-activities": NamedSet(135, "45 animals × 3 activities (RLCM's alignment task)", _animals_activities),
    "imagenet-animals-398": NamedSet(
        IMAGENET_ANIMALS,
        "the animal classes of ImageNet-1k, as they are labelled (RLCM's compression tasks)",
        _imagenet_animals,
        hub="huggingface/label-files",
        local="a text file of ImageNet-1k's first 398 labels, one a line",
    ),
    "pickapic-train-4k": NamedSet(
        4000,
        "4,000 captions of Pick-a-Pic v1's training split",
        _pickapic_train,
        hub="yuvalkirstain/pickapic_v1",
        local="for exactly ROCM's 4,000, assets/prompts/4k_training_prompts.json of github.com/RockeyCoss/SPO",
    ),
    "pickapic-validation-unique-500": NamedSet(
        500,
        "Pick-a-Pic v1's validation_unique split (ROCM's evaluation)",
        _pickapic_validation,
        hub="yuvalkirstain/pickapic_v1",
        local="a text file of that split's captions, one a line",
    ),
    "partiprompts-hps-1-2": NamedSet(
        300,
        "100 PartiPrompts and 200 HPSv2 prompts (ROCM's user study)",
        _partiprompts_hps,
        hub="nateraw/parti-prompts and zhwang/HPDv2",
        local="a text file of 300 prompts, one a line",
    ),
}

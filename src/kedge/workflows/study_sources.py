"""From ``RUN|MODEL|IMAGES`` on the command line to a study's sources of pictures, and its prompts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.evaluation.image_folder import is_image_folder, read_image_folder
from kedge.runs.folder import is_run
from kedge.workflows.measurement import EMOJI_PROMPTS, sets_of

if TYPE_CHECKING:
    from kedge.study.sources import Source

BASE, ITSELF, RESEEDED = "base", "itself", "reseeded"


@dataclass(frozen=True)
class Drawing:
    """How models draw.

    Attributes:
        steps, guidance: None takes each model's own.
        batch_size: pictures at once.
    """

    steps: int | None = None
    guidance: float | None = None
    batch_size: int = 8
    device: str = "auto"


def find_sources(target: str, against: Sequence[str], drawing: Drawing) -> list[Source]:
    """The target and what it is compared with.

    Args:
        against: ``base``, ``itself``, ``reseeded`` or further targets; by default a run meets its base, a model itself.

    Raises:
        ValueError: what cannot be compared, and what could.
    """
    rivals = list(against) or [BASE if is_run(Path(target)) else ITSELF]
    alone = []
    for rival in rivals:
        if rival in (ITSELF, RESEEDED):
            alone.append(rival)
    if alone:
        if len(rivals) > 1:
            raise ValueError(f"--against {alone[0]} stands alone: each pair is two pictures of one model")
        return [_source(target, drawing)]
    sources = [_source(target, drawing)]
    for rival in rivals:
        if rival == BASE:
            if not is_run(Path(target)):
                raise ValueError(f"{target} is not a run folder, so it has no base: name what to compare it with")
            sources.append(_base_of(sources[0]))
        else:
            sources.append(_source(rival, drawing))
    return sources


def find_prompts(target: str, spec: str | None, seed: int) -> list[str]:
    """The prompts asked for, mixed; else those of a folder of images, of a run's judgement, or of the emoji world."""
    from kedge.prompts import PromptError, load_prompts

    path = Path(target)
    if spec is not None:
        try:
            prompts = load_prompts(spec)
        except PromptError as error:  # recipes name a local file in another way
            raise ValueError(str(error).replace("prompts.local=FILE", "--prompts FILE")) from error
    elif is_run(path):
        prompts = sets_of(path).test.prompts
    elif is_image_folder(path):
        prompts = read_image_folder(path)[1]
    elif target.startswith("emoji-"):
        prompts = load_prompts(EMOJI_PROMPTS)
    else:
        raise ValueError("which prompts? Give --prompts: a text, CSV, JSONL or Parquet file, a named set or a data set")
    different = list(dict.fromkeys(prompts))
    return random.Random(f"prompts {seed}").sample(different, len(different))


def _source(target: str, drawing: Drawing) -> Source:
    from kedge.study.sources import FolderSource, ModelSource
    from kedge.workflows.targets import load_target

    if is_image_folder(Path(target)):
        return FolderSource(Path(target))
    loaded = load_target(target, steps=drawing.steps, guidance=drawing.guidance, device=drawing.device)
    model = loaded.model
    facts = {
        "model": model.name,
        "kind": model.kind,
        "steps": model.steps,
        "guidance": model.omega,
        "eta": model.eta,
        "renoise": model.renoise,
        "timesteps": model.timesteps,
        "tuned": loaded.tuned,
        "run": str(target) if loaded.tuned else None,
    }
    return ModelSource(loaded.name, loaded.policy, batch_size=drawing.batch_size, facts=facts)


def _base_of(tuned: Source) -> Source:
    from dataclasses import replace

    from kedge.study.sources import ModelSource

    assert isinstance(tuned, ModelSource)
    facts = {**tuned.facts, "tuned": False, "run": None}
    return replace(tuned, name=Path(str(tuned.facts["model"])).name, reference=True, facts=facts)

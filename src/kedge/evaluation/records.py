"""Where a run keeps its evaluations: ``RUN/evaluation/base.json``, ``tuned.json``, and some of the pictures.

These are the largest of the model as it is. Others of the same model, which answered other questions, stand beside them
under the first digits of their key: ``tuned-1f3a90c2.json``. Another run that this one was compared with is
``against-NAME.json``, whatever its folder is called.
"""

from __future__ import annotations

import glob
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from kedge.evaluation.comparison import paired
from kedge.evaluation.image_folder import METADATA, read_image_folder, write_image_folder
from kedge.evaluation.result import Evaluation

BASE, TUNED = "base", "tuned"
RIVAL = "against-"  # begins the role of another run, so that one called "base" or "tuned" is not taken for ours
DIGITS = 8  # of a key, behind a role
KEY = "[0-9a-f]" * DIGITS  # a pattern of them: "base-*" would be the base's and those of "base-line", too


def file_name(name: str) -> str:
    """A name of a model as the name of a file."""
    return re.sub(r"[^\w.-]", "-", name).strip(".") or "model"


def rival_role(name: str) -> str:
    """The role of another run of this name that a run is compared with."""
    return f"{RIVAL}{name}"


def evaluation_folder(run: Path) -> Path:
    """Inside a run folder."""
    return run / "evaluation"


def save_record(folder: Path, evaluation: Evaluation, role: str | None = None) -> Path:
    """Write an evaluation as ``<role>.json`` (its name by default) and its pictures into ``<role>/``.

    The JSON is written last, so that scores never stand beside the pictures of another evaluation.
    """
    role = file_name(role or evaluation.name)
    path, pictures = folder / f"{role}.json", folder / role
    path.unlink(missing_ok=True)
    if (pictures / METADATA).exists():
        shutil.rmtree(pictures)
    if evaluation.images is not None:
        write_image_folder(pictures, evaluation.images, evaluation.prompts[: len(evaluation.images)])
    return evaluation.save(path)


def load_record(folder: Path, role: str) -> Evaluation | None:
    """An evaluation with its pictures, or None if there is none of that name.

    Raises:
        ValueError: if the file is there but damaged.
    """
    path = folder / f"{file_name(role)}.json"
    if not path.exists():
        return None
    evaluation, pictures = Evaluation.load(path), folder / file_name(role)
    if not pictures.is_dir():
        return evaluation
    paths, _ = read_image_folder(pictures)
    return replace(evaluation, images=np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths]))


def find_record(folder: Path, role: str, key: str) -> Evaluation | None:
    """The evaluation that was made under ``key``, if there is a whole one."""
    for name in (file_name(role), _beside(role, key)):
        try:
            stored = load_record(folder, name)
        except (ValueError, OSError):
            continue  # damaged: it is measured again
        if stored is not None and stored.facts.get("key") == key:
            return stored
    return None


def add_record(folder: Path, evaluation: Evaluation, role: str | None = None) -> Path:
    """Write an evaluation under ``role``; the smaller one of two of the same model makes way, and stands beside it."""
    role = file_name(role or evaluation.name)
    key = str(evaluation.facts["key"])
    try:
        stored = load_record(folder, role)
    except (ValueError, OSError):
        stored = None  # damaged
    same = stored is not None and stored.facts.get("identity") == evaluation.facts["identity"]
    if stored is None or not same or stored.facts.get("key") == key:
        return save_record(folder, evaluation, role)
    if _size(stored) > _size(evaluation):
        return save_record(folder, evaluation, _beside(role, key))
    save_record(folder, stored, _beside(role, str(stored.facts["key"])))
    return save_record(folder, evaluation, role)


def load_pair(folder: Path, ours: str, theirs: str) -> tuple[Evaluation | None, Evaluation | None]:
    """Two evaluations of one plan: the one called ``ours``, and that of ``theirs`` that it is paired with."""
    first = load_record(folder, ours)
    second = load_record(folder, theirs)
    if first is None or second is None or paired(first, second):
        return first, second
    for path in sorted(folder.glob(f"{glob.escape(file_name(theirs))}-{KEY}.json")):
        other = load_record(folder, path.stem)
        if other is not None and other.facts.get("plan") == first.facts.get("plan") and paired(first, other):
            return first, other
    return first, None


def _beside(role: str, key: str) -> str:
    return f"{file_name(role)}-{key[:DIGITS]}"


def _size(evaluation: Evaluation) -> int:
    """How many scores it holds."""
    return len(evaluation) * max(1, len(evaluation.scores))

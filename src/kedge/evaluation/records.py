"""Where a run keeps its evaluations: ``RUN/evaluation/base.json``, ``tuned.json``, and some of the pictures."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from kedge.evaluation.image_folder import METADATA, read_image_folder, write_image_folder
from kedge.evaluation.result import Evaluation

BASE, TUNED = "base", "tuned"


def file_name(name: str) -> str:
    """A name of a model as the name of a file."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name).strip(".") or "model"


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

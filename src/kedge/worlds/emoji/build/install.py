"""Last stage: lay what was built among the package's assets."""

from __future__ import annotations

import filecmp
import itertools
import os
import shutil
from pathlib import Path

from kedge.worlds.emoji.atlas import ASSETS
from kedge.worlds.emoji.networks import make_image_processor

MODELS = ("emoji-diffusion", "emoji-lcm")
FLOW = "emoji-flow"  # ships if it was built
SHARED = ("vae", "text_encoder")  # of the models, where they are the same
CLIPS = ("clip", "pickscore")
JUDGES = (*CLIPS, "hpsv2", "aesthetic.pth", "bert", "blip", "imagereward", "captioner", "answerer")


def install(folder: Path, assets: Path = ASSETS) -> None:
    """Copy what ships from a build's folder.

    Raises:
        FileNotFoundError: naming what has not been built; nothing was copied then.
    """
    missing = [name for name in (*MODELS, *JUDGES) if not (folder / name).exists()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}: run the stages that make them first")
    flow = [FLOW] if (folder / FLOW).is_dir() else []
    for name in (*MODELS, *flow, *JUDGES):
        if (folder / name).is_dir():
            shutil.rmtree(assets / name, ignore_errors=True)
            shutil.copytree(folder / name, assets / name)
        else:
            shutil.copy(folder / name, assets / name)
    for name in CLIPS:
        for file in (folder / "tokenizer").iterdir():
            shutil.copy(file, assets / name / file.name)
        make_image_processor().save_pretrained(assets / name)
    share(assets)


def share(assets: Path) -> None:
    """Keep once what several models have: the later ones have relative links to the first's folders, or weights."""
    first, *others = (assets / name for name in (*MODELS, FLOW) if (assets / name).is_dir())
    for other, part in itertools.product(others, SHARED):
        folder, original = other / part, Path("..") / first.name / part
        if folder.is_symlink():
            continue
        if same_files(first / part, folder):
            shutil.rmtree(folder)
            folder.symlink_to(original, target_is_directory=True)
        else:
            _share_weights(folder, Path("..") / original)


def _share_weights(folder: Path, original: Path) -> None:
    """Link the weight files of ``folder`` to equal ones in ``original``, which is relative to it."""
    for file in folder.glob("*.safetensors"):
        twin = folder / original / file.name
        if twin.is_file() and not file.is_symlink() and filecmp.cmp(twin, file, shallow=False):
            file.unlink()
            file.symlink_to(original / file.name)


def same_files(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files, byte for byte."""
    names = sorted(os.listdir(one))
    if names != sorted(os.listdir(other)):
        return False
    same, _, _ = filecmp.cmpfiles(one, other, names, shallow=False)
    return sorted(same) == names

"""Last stage: lay what was built among the package's assets."""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path

from kedge.worlds.emoji.atlas import ASSETS
from kedge.worlds.emoji.networks import make_image_processor

MODELS = ("emoji-diffusion", "emoji-lcm")
SHARED = ("vae", "text_encoder")  # of the two models, where they are the same
CLIPS = ("clip", "pickscore")
JUDGES = (*CLIPS, "hpsv2", "aesthetic.pth", "bert", "blip", "imagereward", "captioner")


def install(folder: Path, assets: Path = ASSETS) -> None:
    """Copy what ships from a build's folder.

    Raises:
        FileNotFoundError: naming what has not been built; nothing was copied then.
    """
    missing = [name for name in (*MODELS, *JUDGES) if not (folder / name).exists()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}: run the stages that make them first")
    for name in (*MODELS, *JUDGES):
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
    """Keep once what both models have: the second has a relative link to the first's folder."""
    first, second = map(assets.joinpath, MODELS)
    for part in SHARED:
        if (second / part).is_symlink() or not same_files(first / part, second / part):
            continue
        shutil.rmtree(second / part)
        (second / part).symlink_to(Path("..") / first.name / part, target_is_directory=True)


def same_files(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files, byte for byte."""
    names = sorted(os.listdir(one))
    if names != sorted(os.listdir(other)):
        return False
    same, _, _ = filecmp.cmpfiles(one, other, names, shallow=False)
    return sorted(same) == names

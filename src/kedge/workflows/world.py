"""What ``kedge world`` does: draw a caption's scene, score a picture by the oracle, build the world's models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

PARTS = ("total", "animal", "number", "place", "background", "clean", "activity")


def render_scene(prompt: str, seed: int = 0, scale: int = 1) -> Image.Image:
    """What a caption truly means, each pixel enlarged ``scale`` times.

    Raises:
        ValueError: if the prompt is not of the emoji world.
    """
    from kedge.evaluation.grid import as_image
    from kedge.worlds.emoji.scenes import render_prompt

    picture = as_image(render_prompt(prompt, seed))
    return picture.resize((picture.width * scale, picture.height * scale), resample=0)


def score_picture(path: str | Path, prompt: str) -> dict[str, float]:
    """The oracle's total and its parts for a picture on disk, of whatever size (enlarged pixels are averaged back).

    Raises:
        ValueError: there is no such picture, it is not square, or the prompt is not of the emoji world.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    from kedge.pixels import as_rgb, from_uint8
    from kedge.worlds.emoji.oracle import Oracle

    try:
        pixels = np.array(as_rgb(Image.open(path)))
    except FileNotFoundError:
        raise ValueError(f"there is no picture {path}") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not a picture that can be read (PNG, JPEG, WebP, …)") from None
    if pixels.shape[0] != pixels.shape[1]:
        size = f"{pixels.shape[1]} × {pixels.shape[0]}"
        raise ValueError(f"{path} is {size} pixels; the emoji world's pictures are square")
    parts = Oracle().parts(from_uint8(pixels[None]), [prompt])
    return {name: float(getattr(parts, name)[0]) for name in PARTS}


def build_world(
    stages: Sequence[str] = (),
    out: Path = Path("world"),
    *,
    budget: str = "cpu",
    device: str | None = None,
    again: bool = False,
) -> None:
    """Train the world's models, stage by stage; resumable.

    Args:
        stages: none are all but install.
        out: the working folder; a stopped build goes on from it.
        budget: ``cpu``, ``h100``, or ``smoke`` for a trial.
        again: train the stages anew, even where they were done.

    Raises:
        ValueError: for an unknown stage or budget, with the nearest one.
    """
    from kedge.registry import suggest
    from kedge.worlds.emoji.build import recipe
    from kedge.worlds.emoji.build.budget import BUDGETS

    for kind, known, names in (("stage", recipe.ALL_STAGES, stages), ("budget", BUDGETS, [budget])):
        for name in names:
            if name not in known:
                raise ValueError(f"no {kind} {name!r}.{suggest(name, known)} Choose from: {', '.join(known)}")
    recipe.build(list(stages) or list(recipe.STAGES), out, budget, device, again=again)

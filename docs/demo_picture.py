"""The README's picture: ``python -m docs.demo_picture RUN`` draws eight prompts by base and tuned model, side by side.

The first noise of eight prompts that the run neither trains on nor watches, another animal each, the activities in
turn, whatever they look like; enlarged without smoothing, because the pictures are 32 × 32.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from bench.demo import measured
from PIL import Image, ImageDraw, ImageFont

from kedge.workflows.load_run import load_run

PICTURE = Path(__file__).parent / "images" / "demo.png"
COLUMNS, ROWS, SCALE, GAP, LINE = 4, 2, 4, 14, 24  # a caption's line is 24 pixels high


def chosen(prompts: list[str]) -> list[int]:
    """Places of eight prompts: another animal each, the activities in turn."""
    activities = list(dict.fromkeys(activity(prompt) for prompt in prompts))
    places: dict[str, int] = {}
    for place, prompt in enumerate(prompts):
        animal = prompt.split()[1]
        if animal not in places and activity(prompt) == activities[len(places) % len(activities)]:
            places[animal] = place
    return list(places.values())[: COLUMNS * ROWS]


def activity(prompt: str) -> str:
    """What the animal does: ``riding a bike``."""
    return " ".join(prompt.split()[2:])


def sheet(prompts: list[str], base: np.ndarray, tuned: np.ndarray) -> Image.Image:
    """Pairs in rows, base left and tuned right, the prompt below; uint8 ``[N, H, W, 3]``."""
    side = SCALE * base.shape[1]
    width, height = 2 * side, side + LINE
    picture = Image.new("RGB", (COLUMNS * (width + GAP) - GAP, ROWS * height), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=15)
    for i, prompt in enumerate(prompts):
        left, top = i % COLUMNS * (width + GAP), i // COLUMNS * height
        for column, image in enumerate((base[i], tuned[i])):
            drawn = Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)
            picture.paste(drawn, (left + column * side, top))
        pen.text((left + side, top + side + 3), prompt, fill="#333333", font=font, anchor="ma")
    return picture


def main() -> None:
    run = load_run(sys.argv[1])
    base, tuned = measured(run, 1, reference=True), measured(run, 1)
    assert base.images is not None
    assert tuned.images is not None
    places = chosen(list(base.prompts))
    sheet([base.prompts[i] for i in places], base.images[places], tuned.images[places]).save(PICTURE, optimize=True)
    print(PICTURE)


if __name__ == "__main__":
    main()

"""Labelled grids of pictures: a row for each prompt, a column for each model, the same noise along a row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from kedge.evaluation.picture_files import DESCRIPTION, describe_grid
from kedge.pixels import to_uint8

Picture = Tensor | NDArray[np.uint8] | Image.Image
Pictures = Sequence[Picture | None] | NDArray[np.uint8] | Tensor

SMALLEST, LARGEST = 160, 512  # pixels a cell may take


@dataclass(frozen=True)
class Theme:
    """Colours of a grid."""

    paper: str = "#ffffff"
    ink: str = "#1c1d22"
    faint: str = "#73757f"
    empty: str = "#eeeef1"


LIGHT = Theme()
DARK = Theme("#16171b", "#ececf0", "#9a9ca6", "#25262c")


@dataclass(frozen=True)
class _Layout:
    """Measures in pixels; everything follows from the size of a cell."""

    width: int
    height: int
    label: int
    header: int
    title: int
    note: int
    caption: int

    @property
    def text(self) -> int:
        return max(12, min(26, self.width // 12))

    @property
    def gap(self) -> int:
        return max(6, self.width // 24)

    @property
    def margin(self) -> int:
        return 2 * self.gap

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Top left of a cell."""
        x = self.margin + self.label + column * (self.width + self.gap)
        y = self.margin + self.title + self.header + row * (self.height + self.caption + self.gap)
        return x, y


def image_grid(
    columns: Mapping[str, Pictures],
    prompts: Sequence[str] = (),
    *,
    captions: Mapping[str, Sequence[str]] | None = None,
    title: str = "",
    note: str = "",
    theme: Theme = LIGHT,
) -> Image.Image:
    """Draw a row for each prompt and a column for each model, all pictures at one size.

    Args:
        columns: model → its pictures from top to bottom: each ``[3, H, W]`` in [0, 1], ``[H, W, 3]`` uint8, a PIL
            image, or None for an empty cell; a whole batch of the first two will do. Models named "" get no header.
        prompts: a label for each row, wrapped beside it.
        captions: model → a short text under each of its pictures, a score for example.
        title, note: above and below everything.

    Small pictures are enlarged by a whole factor without smoothing, so that their pixels stay crisp. What the grid
    shows stands in words in ``info["Description"]``, which :func:`~kedge.evaluation.picture_files.save_picture` keeps.

    Raises:
        ValueError: no pictures, or not as many prompts as rows.
    """
    names, rows = list(columns), max(map(len, columns.values()), default=0)
    if not rows:
        raise ValueError("a grid needs at least one picture")
    if prompts and len(prompts) != rows:
        raise ValueError(f"{len(prompts)} prompts for {rows} rows of pictures")
    cells = _images(columns)
    size = _cell_size(list(cells.values()))
    headers = names if any(names) else []
    layout = _measure(size, prompts, column_labels=headers, captions=bool(captions), title=title, note=note)

    right, bottom = layout.corner(rows, len(names))
    width, height = right - layout.gap + layout.margin, bottom - layout.gap + layout.note + layout.margin
    if title:
        width = max(width, 2 * layout.margin + int(_font(layout.text + 4, True).getlength(title)))
    canvas = Image.new("RGB", (width, height), theme.paper)
    canvas.info[DESCRIPTION] = describe_grid(names, prompts)
    draw = ImageDraw.Draw(canvas)
    for j, name in enumerate(names):
        texts = (captions or {}).get(name, ())
        for i in range(rows):
            _draw_cell(canvas, draw, cell=cells.get((i, j)), layout=layout, corner=layout.corner(i, j), theme=theme)
            if i < len(texts):
                _draw_caption(draw, texts[i], layout=layout, corner=layout.corner(i, j), theme=theme)
    _draw_labels(draw, layout, rows=prompts, columns=headers, theme=theme)
    if title:
        draw.text((layout.margin, layout.margin), title, theme.ink, _font(layout.text + 4, True), anchor="lt")
    if note:
        lines = wrap(note, _font(layout.text - 1), width - 2 * layout.margin, 3)
        y = bottom - layout.gap + layout.note // 3
        draw.multiline_text((layout.margin, y), "\n".join(lines), theme.faint, _font(layout.text - 1))
    return canvas


def _images(columns: Mapping[str, Pictures]) -> dict[tuple[int, int], Image.Image]:
    """All pictures by row and column."""
    images = {}
    for j, pictures in enumerate(columns.values()):
        for i, picture in enumerate(pictures):
            if picture is not None:
                images[i, j] = as_image(picture)
    return images


def as_image(picture: Picture) -> Image.Image:
    """Any accepted picture as RGB."""
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    if isinstance(picture, Tensor):
        return Image.fromarray(to_uint8(picture[None])[0].numpy())
    return Image.fromarray(np.ascontiguousarray(picture))


def crisp(image: Image.Image) -> Image.Image:
    """A picture too small to see, enlarged by a whole factor without smoothing; others as they are."""
    side = max(image.size)
    return image if side >= SMALLEST else enlarge(image, _cell_size([image]))


def fit(image: Image.Image, size: tuple[int, int], around: str) -> Image.Image:
    """The picture as large as it can be inside ``size`` in its own proportions, in the middle of ``around``."""
    scale = min(size[0] / image.width, size[1] / image.height)
    inner = enlarge(image, (max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    if inner.size == size:
        return inner
    canvas = Image.new("RGB", size, around)
    canvas.paste(inner, ((size[0] - inner.width) // 2, (size[1] - inner.height) // 2))
    return canvas


def enlarge(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize, also out of proportion: crisp when growing by a whole factor, smooth otherwise."""
    if image.size == size:
        return image
    whole = size[0] % image.width == 0 and size[1] % image.height == 0
    return image.resize(size, Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)


def _cell_size(images: Sequence[Image.Image]) -> tuple[int, int]:
    """The size of all cells: that of the largest picture, enlarged by a whole factor or reduced."""
    width = max(map(attrgetter("width"), images), default=SMALLEST)
    height = max(map(attrgetter("height"), images), default=SMALLEST)
    side = max(width, height)
    if side < SMALLEST:
        factor = -(-SMALLEST // side)
        return width * factor, height * factor
    shrink = min(1.0, LARGEST / side)
    return round(width * shrink), round(height * shrink)


def _measure(
    size: tuple[int, int],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    captions: bool,
    title: str,
    note: str,
) -> _Layout:
    text = _Layout(*size, 0, 0, 0, 0, 0).text
    longest = max(map(_font(text).getlength, row_labels), default=0)
    label = min(math.ceil(longest), max(size[0], 9 * text)) + text if row_labels else 0
    headers = 0  # lines
    for each in column_labels:
        headers = max(headers, len(wrap(each, _font(text, True), size[0], 2)))
    return _Layout(
        *size,
        label=label,
        header=round(headers * 1.35 * text + 0.3 * text) if headers else 0,
        title=round(2.6 * text) if title else 0,
        note=round(2.8 * text) if note else 0,
        caption=round(1.5 * text) if captions else 0,
    )


def _draw_cell(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    cell: Image.Image | None,
    layout: _Layout,
    corner: tuple[int, int],
    theme: Theme,
) -> None:
    x, y = corner
    if cell is None:
        draw.rectangle((x, y, x + layout.width - 1, y + layout.height - 1), theme.empty)
    else:
        canvas.paste(fit(cell, (layout.width, layout.height), theme.empty), corner)


def _draw_caption(
    draw: ImageDraw.ImageDraw, caption: str, layout: _Layout, corner: tuple[int, int], theme: Theme
) -> None:
    """Under a cell."""
    x, y = corner
    where = (x + layout.width // 2, y + layout.height + layout.caption // 2)
    draw.text(where, caption, theme.faint, _font(layout.text - 2), anchor="mm")


def _draw_labels(
    draw: ImageDraw.ImageDraw, layout: _Layout, rows: Sequence[str], columns: Sequence[str], theme: Theme
) -> None:
    spacing = round(0.35 * layout.text)
    for i, label in enumerate(rows):
        lines = wrap(label, _font(layout.text), layout.label - layout.text, max(2, layout.height // (2 * layout.text)))
        where = (layout.margin, layout.corner(i, 0)[1] + layout.height // 2)
        draw.multiline_text(where, "\n".join(lines), theme.ink, _font(layout.text), anchor="lm", spacing=spacing)
    for j, label in enumerate(columns):
        lines = wrap(label, _font(layout.text, True), layout.width, 2)
        x, y = layout.corner(0, j)
        where = (x + layout.width // 2, y - round(0.55 * layout.text))
        font = _font(layout.text, True)
        draw.multiline_text(where, "\n".join(lines), theme.ink, font, anchor="md", align="center", spacing=spacing)


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int, most: int) -> list[str]:
    """Break a text into at most ``most`` lines that fit ``width`` pixels; what is left over becomes an ellipsis."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    lines.append(line)
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return [_shorten(line, font, width) for line in lines]


def _shorten(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line.rstrip() + "…"


@lru_cache(maxsize=64)
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    # Matplotlib ships DejaVu Sans, so no machine needs fonts of its own.
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)

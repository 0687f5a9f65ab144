"""What a target shows: tables and at most one figure; and the files that they are written to."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, PngImagePlugin

from kedge.evaluation.rendering import render
from kedge.evaluation.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = {"markdown": "md", "csv": "csv", "latex": "tex"}
# Told apart by people who see red and green alike (Okabe and Ito 2008).
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999999", "#8a6d3b")
MANY = 4  # curves: with more, a legend would cover some
INK: Any = {"font.family": "DejaVu Sans", "svg.fonttype": "none", "svg.hashsalt": "kedge"}
DPI = 150
LARGEST = 150_000  # bytes of a page's figure
SHRINK = 0.85


@dataclass(frozen=True)
class Exhibit:
    """Tables and a figure, drawn from records alone.

    Attributes:
        tables: with their titles.
        figure: a chart, or a grid of pictures.
        notes: what stands below them, in Markdown.
    """

    tables: tuple[Table, ...] = ()
    figure: Figure | Image.Image | None = None
    notes: tuple[str, ...] = ()


def save_exhibit(exhibit: Exhibit, folder: Path, name: str) -> list[Path]:
    """In every format: ``NAME.md``, ``.csv``, ``.tex`` of all tables; ``NAME.png``, ``.svg`` of the figure."""
    folder.mkdir(parents=True, exist_ok=True)
    files = _save_tables(exhibit.tables, folder, name) if exhibit.tables else []
    if isinstance(exhibit.figure, Image.Image):
        files.append(folder / f"{name}.png")
        exhibit.figure.save(files[-1])
    elif exhibit.figure is not None:
        files += _save_chart(exhibit.figure, folder, name)
    return files


def _save_tables(tables: Sequence[Table], folder: Path, name: str) -> list[Path]:
    files = []
    for format, ending in ENDINGS.items():
        path = folder / f"{name}.{ending}"
        texts = []
        for table in tables:
            head = f"# {table.title}\n" if format == "csv" and len(tables) > 1 else ""
            texts.append(head + render(table, format))
        path.write_text("\n".join(texts), encoding="utf-8")
        files.append(path)
    return files


def _save_chart(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Equal data give equal bytes."""
    import matplotlib

    metadata: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    files = [folder / f"{name}.{ending}" for ending in metadata]
    with matplotlib.rc_context(INK):
        for path in files:
            figure.savefig(path, dpi=DPI, metadata=metadata[path.suffix[1:]])
    return files


def save_small(figure: Figure | Image.Image, path: Path, source: str) -> None:
    """The figure as one PNG of at most ``LARGEST`` bytes, in at most 256 colours.

    Args:
        source: what it was drawn from, written into the file; see :func:`source_of`.
    """
    picture = figure if isinstance(figure, Image.Image) else _rendered(figure)
    information = PngImagePlugin.PngInfo()
    information.add_text("Source", source)
    while True:
        buffer = io.BytesIO()
        picture.convert("RGB").quantize(256).save(buffer, "PNG", optimize=True, pnginfo=information)
        if buffer.tell() <= LARGEST:
            break
        picture = picture.resize(
            (round(picture.width * SHRINK), round(picture.height * SHRINK)), Image.Resampling.LANCZOS
        )
    if not path.is_file() or path.read_bytes() != buffer.getvalue():
        path.write_bytes(buffer.getvalue())


def source_of(path: Path) -> str:
    """What :func:`save_small` says that a picture was drawn from."""
    with Image.open(path) as picture:
        return str(picture.info.get("Source", ""))


def _rendered(figure: Figure) -> Image.Image:
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context(INK):
        figure.savefig(buffer, format="png", dpi=DPI)
    return Image.open(buffer)


def canvas(columns: int = 1, rows: int = 1, size: tuple[float, float] = (4.6, 3.4)) -> tuple[Figure, list[Axes]]:
    """A figure with plain axes, row by row; no global state, no display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(labelsize=8)
    return figure, axes


def colours(titles: Iterable[str]) -> dict[str, str]:
    """Title → its colour, in every panel that shows it."""
    return dict(zip(dict.fromkeys(titles), cycle(COLOURS), strict=False))


def legend(axes: Axes, *others: Axes) -> None:
    """Small, and readable over lines; of many curves, below the whole figure.

    Args:
        others: panels whose curves it names, too.
    """
    known: dict[str, Any] = {}
    for panel in (axes, *others):
        lines, names = panel.get_legend_handles_labels()
        known |= dict(zip(names, lines, strict=True))
    labels, handles = list(known), list(known.values())
    if len(labels) > MANY:
        columns = len(labels) if len(labels) == MANY + 1 else MANY
        axes.figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
    elif labels:
        axes.legend(handles, labels, fontsize=8, framealpha=0.8, edgecolor="none")

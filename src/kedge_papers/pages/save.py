"""Files that targets write: tables in three formats, figures in two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def save_tables(tables: Sequence[Table], folder: Path, name: str) -> list[Path]:
    """``NAME.md``, ``NAME.csv`` and ``NAME.tex``: all tables in each, with their titles."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for format, ending in ENDINGS.items():
        path = folder / f"{name}.{ending}"
        heads = [f"# {table.title}\n" if format == "csv" and len(tables) > 1 else "" for table in tables]
        texts = [head + render(table, format) for head, table in zip(heads, tables, strict=True)]
        path.write_text("\n".join(texts), encoding="utf-8")
        written.append(path)
    return written


def canvas(columns: int = 1, rows: int = 1, size: tuple[float, float] = (4.6, 3.4)) -> tuple[Figure, list[Axes]]:
    """A figure with plain axes, row by row; no global state, no display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(labelsize=8)
    return figure, axes


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """``NAME.png`` and ``NAME.svg``; equal data give equal bytes."""
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{ending}" for ending in ("png", "svg")]
    metadata: dict[str, Any] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
    with matplotlib.rc_context(INK):
        for path in paths:
            figure.savefig(path, dpi=150, metadata=metadata[path.suffix[1:]])
    return paths


def legend(axes: Axes) -> None:
    """Small, and readable over lines; of many curves, below the whole figure."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > MANY:
        columns = len(labels) if len(labels) == MANY + 1 else MANY
        axes.figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
    elif labels:
        axes.legend(fontsize=8, framealpha=0.8, edgecolor="none")

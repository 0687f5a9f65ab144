"""A table as terminal text, Markdown, LaTeX, CSV or JSON.

What people read is scaled and rounded; CSV and JSON hold the unscaled numbers in full.
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from kedge.evaluation.tables import Cell, Table

if TYPE_CHECKING:
    import rich.table

FORMATS = ("table", "markdown", "json", "csv", "latex")

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "×": r"$\times$",
        "±": r"$\pm$",
        "→": r"$\rightarrow$",
    }
)


def render(table: Table, format: str) -> str:
    """The table as text in one of :data:`FORMATS`.

    Raises:
        ValueError: listing the formats.
    """
    writers = {"table": _terminal, "markdown": _markdown, "json": _json, "csv": _csv, "latex": _latex}
    if format not in writers:
        raise ValueError(f"unknown table format {format!r}: choose from {', '.join(FORMATS)}")
    return writers[format](table)


def plain(cell: Cell | None) -> str:
    """``21.43 ± 0.12``; a dash for a missing number."""
    if cell is None:
        return "–"
    return " ".join(cell.texts()).rstrip()


def rich_table(table: Table) -> rich.table.Table:
    """For a rich console."""
    import rich.box
    import rich.table
    from rich.text import Text

    drawn = rich.table.Table(title=table.title or None, caption=table.note or None, box=rich.box.SIMPLE_HEAD)
    drawn.title_justify = drawn.caption_justify = "left"
    drawn.add_column(Text(table.corner), no_wrap=True)
    for header in table.headers:
        drawn.add_column(Text(header), justify="right", no_wrap=True)
    for label, cells in table.rows:
        row = [Text(label)]
        for cell in cells:
            row.append(Text(plain(cell), style="bold" if cell and cell.bold else ""))
        drawn.add_row(*row)
    return drawn


def for_width(table: Table, width: int) -> rich.table.Table:
    """For a console of so many columns: as a table if it fits, else a block for each row. Nothing is cut."""
    from rich.console import Console

    drawn = rich_table(table)
    return drawn if Console(width=10_000).measure(drawn).maximum <= width else _blocks(table)


def _blocks(table: Table) -> rich.table.Table:
    """Each row's label, and below it a line for each of its numbers."""
    import rich.table
    from rich.text import Text

    drawn = rich.table.Table(title=table.title or None, caption=table.note or None, box=None, show_header=False)
    drawn.title_justify = drawn.caption_justify = "left"
    drawn.add_column(overflow="fold")
    drawn.add_column(justify="right", no_wrap=True)
    for label, cells in table.rows:
        drawn.add_row(Text(label, style="underline"), "")
        for header, cell in zip(table.headers, cells, strict=True):
            drawn.add_row(Text(f"  {header}"), Text(plain(cell), style="bold" if cell and cell.bold else ""))
    return drawn


def _terminal(table: Table) -> str:
    from rich.console import Console

    drawn = rich_table(table)
    buffer = io.StringIO()
    wide = Console(width=10_000)
    console = Console(file=buffer, width=max(wide.measure(drawn).maximum, 60), color_system=None)
    console.print(drawn)
    return "\n".join(map(str.rstrip, buffer.getvalue().splitlines())) + "\n"


def _markdown(table: Table) -> str:
    def escape(text: str) -> str:
        return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")

    def cell_text(cell: Cell | None) -> str:
        value, uncertainty = cell.texts() if cell else ("–", "")
        value = f"**{value}**" if cell and cell.bold else value
        return f"{value} {uncertainty}".rstrip()

    lines = [f"**{escape(table.title)}**", ""] if table.title else []
    lines.append("| " + " | ".join(map(escape, (table.corner, *table.headers))) + " |")
    lines.append("|:---|" + "---:|" * len(table.headers))
    for label, cells in table.rows:
        lines.append(f"| {escape(label)} | " + " | ".join(map(cell_text, cells)) + " |")
    if table.note:
        lines += ["", escape(table.note)]
    return "\n".join(lines) + "\n"


def _latex(table: Table) -> str:
    def escape(text: str) -> str:
        return text.translate(_LATEX)

    def cell_text(cell: Cell | None) -> str:
        if cell is None:
            return "--"
        value, uncertainty = cell.texts()
        value = rf"\mathbf{{{value}}}" if cell.bold else value
        shown = f"{value} {uncertainty}".rstrip()
        return (
            "$"
            + shown.replace(" %", r"\,\%")
            .replace("±", r"\pm")
            .replace("–", r"\text{--}")
            .replace("−", "-")
            .replace("×", r"\times")
            + "$"
        )

    lines = [f"% {table.title}"] if table.title else []
    lines += [f"% {table.note}"] if table.note else []
    lines += [rf"\begin{{tabular}}{{l{'r' * len(table.headers)}}}", r"\toprule"]
    lines.append(" & ".join(map(escape, (table.corner, *table.headers))) + r" \\")
    lines.append(r"\midrule")
    for label, cells in table.rows:
        lines.append(" & ".join([escape(label), *map(cell_text, cells)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _csv(table: Table) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([table.corner.lower().replace(" ", "_"), "column", "value", "low", "high", "units", "level"])
    for label, cells in table.for_machines():
        for key, cell in zip(table.keys, cells, strict=True):
            if cell is not None:  # an infinite end, None, is written as nothing
                writer.writerow([label, key, *cell.interval.to_dict().values()])
    return buffer.getvalue()


def _json(table: Table) -> str:
    rows = []
    for label, cells in table.for_machines():
        row: dict[str, Any] = {"name": label}
        for key, cell in zip(table.keys, cells, strict=True):
            if cell is not None:
                row[key] = cell.interval.to_dict()
        rows.append(row)
    data = {"title": table.title, "note": table.note, "rows": rows}
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"

"""The house as a picture and a table, drawn from the law that a test enforces (``tests/test_architecture.py``).

A part stands one floor above the highest part that it may import, so every arrow points down.
"""

from __future__ import annotations

import ast
import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
IDEA = ("gaussian", "divergences", "policies", "rewards", "algorithms")  # drawn in colour: where the mathematics is

FLOOR, BOX, GAP, LINE, MARGIN = 62, 32, 44, 24, 20  # pixels: height of a floor and of a box, between boxes, of an arrow
LETTER = 8.2  # pixels, about, at 14 pixels of height


@dataclass(frozen=True)
class House:
    """The parts of the package and what each may import.

    Attributes:
        may_import: part → parts.
    """

    may_import: Mapping[str, Sequence[str]]

    @cached_property
    def ground(self) -> list[str]:
        """Small tools: they import nothing of kedge, and whoever needs them imports them."""
        return [part for part, below in self.may_import.items() if not below and part not in IDEA]

    def floor(self, part: str) -> int:
        """0 for what imports nothing but the small tools."""
        below = [other for other in self.may_import[part] if other not in self.ground]
        return 1 + max(map(self.floor, below), default=-1)

    def reached(self, part: str) -> set[str]:
        """Everything below ``part``, over any number of imports."""
        return {other for below in self.may_import[part] for other in {below, *self.reached(below)}}

    def arrows(self, part: str) -> list[str]:
        """The parts that ``part`` may import and reaches in no other way: the others follow from these."""
        below = [other for other in self.may_import[part] if other not in self.ground]
        return [one for one in below if not any(one in self.reached(other) for other in below)]

    @cached_property
    def floors(self) -> list[list[str]]:
        """The parts of each floor, from the top."""
        parts = [part for part in self.may_import if part not in self.ground]
        top = max(map(self.floor, parts))
        return [[part for part in parts if self.floor(part) == floor] for floor in range(top, -1, -1)]


def house() -> House:
    """The house as the law has it, without the line that only starts the command."""
    law = runpy.run_path(str(ROOT / "tests" / "test_architecture.py"))["MAY_IMPORT"]
    return House({part: below for part, below in law.items() if part != "__main__"})


def table(house: House) -> str:
    """Part, what it is for, what it may import besides the small tools."""
    lines = ["| part | what it is for | may import |", "|---|---|---|"]
    for part in [part for floor in house.floors for part in floor] + house.ground:
        below = [f"`{other}`" for other in house.may_import[part] if other not in house.ground]
        lines.append(f"| `{part}` | {purpose(part)} | {', '.join(below) or '–'} |")
    return "\n".join(lines)


def purpose(part: str) -> str:
    """The first sentence of the part's docstring."""
    source = ROOT / "src" / ("kedge_papers" if part == "papers" else f"kedge/{part}")
    path = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
    words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(words.split("\n\n")[0].split()).replace("``", "`").replace("|", "\\|")


@dataclass(frozen=True)
class Spot:
    """A place in the drawing: a part's box, or where the arrow from ``part`` to ``to`` passes the floor ``level``."""

    part: str
    to: str = ""
    level: int = 0

    @property
    def width(self) -> float:
        return LINE if self.to else 30 + LETTER * len(self.part)


def picture(house: House) -> str:
    """The floors as SVG: boxes, and arrows to what is imported directly."""
    rows, links = _spots(house)
    _untangle(rows, links)
    tools = "small tools, for everybody: " + "  ".join(house.ground)
    width = max(LETTER * len(tools), *(sum(spot.width + GAP for spot in row) for row in rows)) + 2 * MARGIN
    centre = {}
    for level, row in enumerate(rows):
        free = (width - 2 * MARGIN - sum(spot.width for spot in row)) / len(row)
        x = MARGIN
        for spot in row:
            centre[spot] = (x + (free + spot.width) / 2, MARGIN + level * FLOOR + BOX / 2)
            x += free + spot.width
    height = MARGIN + len(rows) * FLOOR + BOX + MARGIN
    shapes = [_arrow(*centre[upper], *centre[lower], head=not lower.to, tail=bool(upper.to)) for upper, lower in links]
    shapes += [_box(*centre[spot], spot.width, spot.part) for row in rows for spot in row if not spot.to]
    shapes.append(_ground(width, height - MARGIN - BOX, tools))
    return HEAD.format(width=round(width), height=round(height)) + "\n".join(shapes) + "\n</svg>\n"


def _spots(house: House) -> tuple[list[list[Spot]], list[tuple[Spot, Spot]]]:
    """The spots of each floor, from the top, and which are joined by a piece of an arrow."""
    rows = [[Spot(part) for part in floor] for floor in house.floors]
    levels = {spot.part: level for level, row in enumerate(rows) for spot in row}
    links = []
    for part, level in levels.items():
        for to in house.arrows(part):
            last = Spot(part)
            for between in range(level + 1, levels[to]):
                rows[between].append(Spot(part, to, between))
                links.append((last, rows[between][-1]))
                last = rows[between][-1]
            links.append((last, Spot(to)))
    return rows, links


def _untangle(rows: list[list[Spot]], links: list[tuple[Spot, Spot]]) -> None:
    """Order each floor by the middle of what it is joined to, down and up a few times: fewer arrows cross."""
    for sweep in range(8):
        for level in range(1, len(rows)) if sweep % 2 == 0 else range(len(rows) - 2, -1, -1):
            beside = rows[level - 1] if sweep % 2 == 0 else rows[level + 1]
            place = {spot: (i + 0.5) / len(beside) for i, spot in enumerate(beside)}
            middle = {}
            for i, spot in enumerate(rows[level]):
                ends = [place[other] for link in links if spot in link for other in link if other in place]
                middle[spot] = sum(ends) / len(ends) if ends else (i + 0.5) / len(rows[level])
            rows[level].sort(key=middle.__getitem__)


HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"
     font-family="DejaVu Sans, Verdana, sans-serif" font-size="14" text-anchor="middle">
<title>The parts of kedge: each stands above what it may import</title>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 8 4 0 8z" fill="#8a9aa0"/></marker></defs>
<rect width="100%" height="100%" fill="#ffffff"/>
"""


def _box(x: float, y: float, width: float, part: str) -> str:
    fill, edge = ("#d3efec", "#00897b") if part in IDEA else ("#f3f5f6", "#90a4ae")
    return (
        f'<rect x="{x - width / 2:.1f}" y="{y - BOX / 2:.1f}" width="{width:.1f}" height="{BOX}" rx="6" fill="{fill}"'
        f' stroke="{edge}"/><text x="{x:.1f}" y="{y + 5:.1f}" fill="#1c2a30">{part}</text>'
    )


def _arrow(x: float, y: float, to_x: float, to_y: float, *, head: bool, tail: bool) -> str:
    """A piece from one floor to the next; ``tail``: it goes on from a piece above."""
    y, to_y = y if tail else y + BOX / 2, to_y - BOX / 2 if head else to_y
    bend = (to_y - y) / 2
    end = ' marker-end="url(#head)"' if head else ""
    path = f"M{x:.1f} {y:.1f}C{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f} {to_x:.1f} {to_y:.1f}"
    return f'<path d="{path}" fill="none" stroke="#8a9aa0" stroke-width="1.3"{end}/>'


def _ground(width: float, y: float, text: str) -> str:
    return (
        f'<rect x="{MARGIN}" y="{y:.1f}" width="{width - 2 * MARGIN:.1f}" height="{BOX}" rx="6" fill="#ffffff"'
        f' stroke="#90a4ae" stroke-dasharray="4 3"/><text x="{width / 2:.1f}" y="{y + BOX / 2 + 5:.1f}" fill="#56666d">'
        f"{text}</text>"
    )

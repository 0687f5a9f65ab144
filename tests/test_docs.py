"""The documentation is true: what it names exists, what it shows runs, what is generated is up to date."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def defined(path: Path) -> set[str]:
    """Every name in a file, dotted for what is inside a class: functions, classes, methods, constants."""

    def walk(body: list[ast.stmt], inside: str) -> set[str]:
        names = set()
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(inside + node.name)
                if isinstance(node, ast.ClassDef):
                    names |= walk(node.body, f"{inside}{node.name}.")
            elif isinstance(node, ast.Assign):
                names |= {inside + target.id for target in node.targets if isinstance(target, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(inside + node.target.id)
        return names

    return walk(ast.parse(path.read_text(encoding="utf-8")).body, "")


def missing(page: str, source: Path, tests: Path) -> list[str]:
    """``file.py:name`` below ``source`` and ``file.py::name`` below ``tests`` that the page names but are not there."""
    wrong = []
    for file, colons, name in re.findall(r"`((?!my)[\w/]+\.py)(::?)([\w.]+)`", page):  # my_….py is the reader's
        path = (tests if colons == "::" else source) / file
        if not path.is_file() or name not in defined(path):
            wrong.append(f"{file}{colons}{name}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_code_and_tests_that_a_page_names_exist(page):
    assert missing(page.read_text(encoding="utf-8"), ROOT / "src" / "kedge", ROOT / "tests") == []


def test_the_page_on_the_papers_names_them():
    page = (DOCS / "paper.md").read_text(encoding="utf-8")
    assert len(re.findall(r"`[\w/]+\.py:[\w.]+`", page)) > 40
    assert len(re.findall(r"`[\w/]+\.py::\w+`", page)) > 50
    for name in ("ppo.py:PPO", "ppo.py:Ppo", "no_such.py:X", "ppo.py::PPO"):
        expected = [] if name == "ppo.py:PPO" else [f"algorithms/{name}"]
        assert missing(f"see `algorithms/{name}`", ROOT / "src" / "kedge", ROOT / "tests") == expected

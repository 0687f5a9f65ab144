"""The front page of the API reference: every name that ``import kedge`` offers, with the page that describes it."""

from __future__ import annotations

import re
from pathlib import Path

import griffe

PAGES = Path(__file__).parent / "api"

HEAD = """\
<!-- Written by docs/reference.py from src/kedge/__init__.py: run `make docs` instead of changing it. -->

# API reference

`import kedge` offers the names below and loads what a name needs when it is first used. What is not listed here may
change with any version. The pages are written from the docstrings: the site made by `make site` shows them; on a code
host they hold only the names of the modules.
"""


def reference() -> str:
    """The page."""
    package = griffe.load("kedge", search_paths=[str(PAGES.parents[1] / "src")])
    places = described(package)
    names = {}
    for name, member in package.members.items():
        if member.is_alias and member.target_path.startswith("kedge."):
            target = member.final_target
            if target.is_module:  # a function that bears the name of its module: in Python the function wins
                target = target[name]
            if target.path not in places:
                raise LookupError(f"no page of docs/api describes {target.path}: name its module there, after :::")
            names[target.path] = name, target
    rows: dict[Path, list[str]] = {}
    for path, (page, anchor) in places.items():
        if path in names:
            name, target = names[path]
            row = f"| [`{name}`]({page.name}#{anchor}) | {first_sentence(target)} |"
            rows.setdefault(page, []).append(row)
    parts = [HEAD]
    for page, lines in rows.items():
        title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        parts.append("\n".join([f"## [{title}]({page.name})\n", "| `kedge.` | |", "|---|---|", *lines, ""]))
    return "\n".join(parts)


def described(package: griffe.Module) -> dict[str, tuple[Path, str]]:
    """Full path of an object → the page that describes it, and its anchor there; in the order of the navigation."""
    navigation = (PAGES.parents[1] / "mkdocs.yml").read_text(encoding="utf-8")
    places: dict[str, tuple[Path, str]] = {}
    for file in re.findall(r": api/(\w+\.md)$", navigation, re.MULTILINE):
        page = PAGES / file
        for module in re.findall(r"^::: kedge\.([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            for member in package[module].members.values():
                if not member.is_alias:
                    places[member.path] = page, member.path
                elif member.is_exported:
                    places.setdefault(member.final_target.path, (page, member.path))
    return places


def first_sentence(item: griffe.Object | griffe.Alias) -> str:
    """Of its docstring.

    Raises:
        LookupError: it has none.
    """
    if item.docstring is None:
        raise LookupError(f"{item.path} has no docstring")
    text = " ".join(item.docstring.value.split("\n\n")[0].split())
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text).replace("``", "`").replace("|", "\\|")
    return re.split(r"(?<=\.) (?=[A-Z`])", text, maxsplit=1)[0]

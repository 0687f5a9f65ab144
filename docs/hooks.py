"""The site's hooks: pages at the top of the repository and examples become pages of the site, and links to them hold.

MkDocs calls the functions by their names.
"""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# File of the repository → page of the site.
PAGES = {
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    **{f"examples/{path.name}": f"examples/{path.stem}.md" for path in sorted((ROOT / "examples").glob("*.py"))},
}

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#:]+)((?:#[^)\s]*)?)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside ``docs/``."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        if name.endswith(".py"):
            text = f"# {Path(name).name}\n\n```python\n{text}```\n"
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links as they are on the site, from links as they are in the repository."""
    target = page.file.src_uri
    source = next((name for name, known in PAGES.items() if known == target), f"docs/{target}")
    return _LINK.sub(lambda link: _relinked(*link.groups(), source=source, page=target), markdown)


def _relinked(image: str, words: str, path: str, anchor: str, *, source: str, page: str) -> str:
    """One link of the file ``source``, which is ``page`` on the site. A source file has no page: its words stay."""
    goal = normpath(f"{dirname(source)}/{path}" if dirname(source) else path)
    goal = PAGES.get(goal, goal.removeprefix("docs/") if goal.startswith("docs/") else "")
    if not goal:
        return words
    return f"{image}[{words}]({relpath(goal, dirname(page) or '.')}{anchor})"

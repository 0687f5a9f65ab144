"""The site's hooks: the pages at the top of the repository become pages of the site, and links between both hold.

MkDocs calls the functions by their names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# File at the top of the repository → page of the site.
PROJECT = {
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside ``docs/``."""
    for name, page in PROJECT.items():
        files.append(File.generated(config, page, content=at_home((ROOT / name).read_text(encoding="utf-8"))))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links from ``docs/`` to those pages: ``../CHANGELOG.md`` → ``changelog.md``; the examples have no page."""
    markdown = re.sub(r"\[([^\]]*)\]\((?:\.\./)+(examples/[^)]*)\)", r"\1 (`\2`)", markdown)
    for name, target in PROJECT.items():
        markdown = re.sub(
            rf"\]\((\.\./)+{re.escape(name)}", f"]({'../' * page.file.src_uri.count('/')}{target}", markdown
        )
    return markdown


def at_home(text: str) -> str:
    """A page of the repository's top, with its links as they are from within ``docs/``."""
    return _LINK.sub(lambda link: _relinked(*link.groups()), text)


def _relinked(image: str, words: str, target: str) -> str:
    path, hash_, anchor = target.partition("#")
    if "://" in target or not path:
        return f"{image}[{words}]({target})"
    if path.startswith("docs/"):
        return f"{image}[{words}]({path.removeprefix('docs/')}{hash_}{anchor})"
    if path in PROJECT:
        return f"{image}[{words}]({PROJECT[path]}{hash_}{anchor})"
    return words  # a source file: the site has no page for it

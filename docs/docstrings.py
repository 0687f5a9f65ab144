"""Docstrings for the site: ``:class:`Name``` becomes a link, and an entry for two names becomes two entries.

An extension of Griffe, which reads the docstrings for mkdocstrings. A role that names nothing is a warning, and so the
end of a strict build.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|data|mod|attr):`~?([\w.]+)`")
_SHARED = re.compile(r"^( +)(\w+(?:, \w+)+): ((?:.*)(?:\n\1 +.*)*)", re.MULTILINE)
_LOG = griffe.get_logger(__name__)


class Roles(griffe.Extension):
    """Rewrites the roles of every docstring once a package has been read."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Called by Griffe with the whole package."""
        _rewrite(pkg)


def _rewrite(item: griffe.Object) -> None:
    if item.docstring:
        text = _SHARED.sub(_apart, item.docstring.value)
        item.docstring.value = _ROLE.sub(lambda role: _link(item, role[1]), text)
    for member in item.members.values():
        if not member.is_alias:
            _rewrite(member)


def _apart(entry: re.Match[str]) -> str:
    """``low, high: the ends`` as a line for each, which is what Griffe can give a type to."""
    margin, names, words = entry.groups()
    return "\n".join(f"{margin}{name}: {words}" for name in names.split(", "))


def _link(item: griffe.Object, name: str) -> str:
    """The link, to be followed where the target is on a page of the reference; plain code where it is not."""
    path = _resolve(item, name)
    if path is None:
        _LOG.warning("%s: its docstring names %s, which is not there", item.path, name)
    return f'<autoref optional identifier="{path}"><code>{name}</code></autoref>'


def _resolve(item: griffe.Object, name: str) -> str | None:
    """The full path of what ``name`` means in the docstring of ``item``; None if it means nothing."""
    first, _, rest = name.partition(".")
    try:
        path = ".".join(filter(None, [item.resolve(first), rest]))
    except griffe.NameResolutionError:
        path = name
    package = item.package
    if not path.startswith(f"{package.name}."):
        return path if path != name else None  # from another package: imported here, or nothing
    try:
        return str(package[path.removeprefix(f"{package.name}.")].path)
    except KeyError:
        return None

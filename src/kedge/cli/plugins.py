"""Subcommands that other packages bring: entry points of the group ``kedge.commands``.

Each names a Typer function or app, in a module that imports nothing heavy: ``kedge --help`` imports it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from importlib.metadata import entry_points
from typing import Any

GROUP = "kedge.commands"
log = logging.getLogger(__name__)


def commands_beside(taken: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Name and object of each, by name; what cannot be loaded or has a taken name is left out, with a warning.

    Args:
        taken: names that nobody may replace.
    """
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        if entry.name in taken:
            log.warning("kedge %s is Kedge's own: the one of %s is left out", entry.name, entry.value)
            continue
        try:
            yield entry.name, entry.load()
        except Exception as error:  # a broken package beside it must not take the command away
            log.warning("kedge %s cannot be loaded (%s): %s", entry.name, entry.value, error)

"""The user's own files that a run was made with, copied into its folder, so that it still explains itself years later.

They are a record: nothing is ever imported from there, for a run folder may come from elsewhere. What the files import
in turn is not copied, nor are installed packages.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from kedge.config import RunConfig
from kedge.files import replacing
from kedge.registry import load_object
from kedge.rewards import parse
from kedge.rewards.contents import source_file
from kedge.user_code import is_users

LARGEST = 10**6  # bytes: what is larger is no program


def keep_code(config: RunConfig, folder: Path) -> list[Path]:
    """Copy the files behind every ``module:name`` and ``file.py:name`` of a recipe into ``folder``.

    Returns:
        the copies; files of one name from two folders carry the folder's name in front.
    """
    copies: dict[str, Path] = {}
    for file in own_files(config):
        name = file.name
        if copies.get(name, file) != file:
            name = f"{file.parent.name}-{name}"
        copies[name] = file
    for name, file in copies.items():
        with replacing(folder / name) as draft:
            shutil.copyfile(file, draft)
    return [folder / name for name in copies]


def own_files(config: RunConfig) -> list[Path]:
    """The files of the user's own that a recipe names, each once."""
    files: dict[Path, None] = {}
    for name in _names(config):
        file = _source(name)
        if file is not None and is_users(str(file)) and file.stat().st_size <= LARGEST:
            files[file.resolve()] = None
    return list(files)


def _names(config: RunConfig) -> Iterator[str]:
    """Whatever a recipe may name by ``module:name``."""
    for text in (config.reward, *config.watch.metrics):
        yield from (term.name for term in parse(text))
    yield from (config.algorithm.name, config.model.kind, *config.watch.trackers)
    sets = (config.prompts, config.watch.held_out)
    sources = []
    for prompts in sets:
        if prompts is not None:
            sources.append(prompts.source)
    for value in (getattr(config.algorithm.instance, "divergence", None), *sources):
        if isinstance(value, str):
            yield value


def _source(name: str) -> Path | None:
    if ":" not in name:
        return None
    try:
        return source_file(load_object(name))
    except (ValueError, ImportError, OSError):  # a path of Windows, an address: no name of an object
        return None

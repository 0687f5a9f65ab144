"""A run folder has one owner: taken when it is chosen, held while the run lasts, and never somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kedge.files import locked, remove, remove_drafts
from kedge.runs.folder import RunFolder, numbered

LOCK = ".lock"


class FolderTaken(ValueError):
    """The run folder already holds a run, and nobody said to resume it; or it is in use, or holds others' files."""


@dataclass(frozen=True)
class Owned:
    """A folder that is ours for now.

    Attributes:
        used: whether it held a run before.
        new: the folders that were made for it, outermost first.
    """

    folder: RunFolder
    used: bool
    new: tuple[Path, ...] = ()

    def give_up(self) -> None:
        """Leave nothing behind of a run that could not begin; what was there before stays."""
        if self.used:
            return
        for path in self.folder.files():
            remove(path)
        remove(self.folder.path / LOCK)
        for parent in reversed(self.new):
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


@contextmanager
def owned(path: Path, *, resume: bool, or_next: bool = False) -> Iterator[Owned]:
    """Take a run folder; inside, no other process can.

    Args:
        resume: it may hold a run, which goes on.
        or_next: take ``path-2``, ``path-3``, … where it is taken.

    Raises:
        FolderTaken: saying by whom or what.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:  # card and report could not say where they are
        raise FolderTaken(f"{path}: the folder's name is not UTF-8: choose another --out") from None
    path, new = _made(path, or_next)
    folder = RunFolder(path)
    if not new:
        check_folder(folder, resume)
    with locked(path / LOCK) as ours:
        if not ours:
            raise FolderTaken(f"{path} is in use ({(path / LOCK).read_text()}): wait for it, or choose another --out")
        if not new:
            check_folder(folder, resume)  # whoever had it may have made it a run meanwhile
        remove_drafts(path)
        yield Owned(folder, folder.used, new)


def check_folder(folder: RunFolder, resume: bool) -> None:
    """Refuse a folder that a run may not have; :func:`owned` does too, once everything is imported.

    Raises:
        FolderTaken: it holds a run that is not to go on, or others' files; or it is no folder.
    """
    if folder.path.exists() and not folder.path.is_dir():
        raise FolderTaken(f"{folder.path} is a file: choose a folder with --out")
    if folder.used and not resume:
        raise FolderTaken(
            f"{folder.path} already holds a run: add --resume to go on with it, or choose another folder with --out"
        )
    if names := folder.foreign():
        raise FolderTaken(
            f"{folder.path} holds files that are no run's and that a run would overwrite ({', '.join(names)}): choose "
            "another folder with --out"
        )


def _made(path: Path, or_next: bool) -> tuple[Path, tuple[Path, ...]]:
    """The folder, and which folders had to be made for it: none if it was there."""
    missing = []
    for parent in path.parents:
        if not parent.exists():
            missing.append(parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in numbered(path) if or_next else (path,):
        try:
            name.mkdir()
        except FileExistsError:
            continue
        return name, (*reversed(missing), name)
    return path, ()

"""Calling what users wrote: its errors name the thing, the file and the line, without Kedge's own traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OURS = Path(__file__).parent
# What is no mistake in the code that was called, or has words of its own.
PASSED_ON = ("OutOfMemoryError", "MemoryError", "ServerError", "UserCodeError")


class UserCodeError(ValueError):
    """Code of the user's own failed; the message says where, and what to do."""


@contextmanager
def calling(what: str, kind: type[UserCodeError] = UserCodeError) -> Iterator[None]:
    """Inside, code of the user's own runs.

    Args:
        what: for the message: ``reward 'mine.py:calm'``.
        kind: of the error that is raised.

    Raises:
        UserCodeError: naming ``what``, file, line and error, with the user's error as its cause.
    """
    try:
        yield
    except Exception as error:
        if {each.__name__ for each in type(error).__mro__} & set(PASSED_ON):
            raise
        raise kind(
            f"{what} failed{_place(error)}: {type(error).__name__}: {error}. Mend it and start again (a training that "
            "had begun goes on with --resume; kedge --traceback shows how it came there)"
        ) from error


def _place(error: Exception) -> str:
    """`` in mine.py, line 3``: the innermost line that is neither Kedge's nor a library's, else the innermost one."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" in {_short(error.filename)}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    if not frames:
        return ""
    own = [frame for frame in frames if is_users(frame.filename)]
    frame = (own or frames)[-1]
    return f" in {_short(frame.filename)}, line {frame.lineno}"


def is_users(file: str) -> bool:
    """Whether a source file is neither Kedge's nor a library's."""
    return not (_is_ours(file) or _is_library(file))


def _is_ours(file: str) -> bool:
    return file.startswith("<frozen") or OURS in Path(file).parents


def _is_library(file: str) -> bool:
    parts = Path(file).parts
    return "site-packages" in parts or "dist-packages" in parts or file.startswith(f"{sys.base_prefix}/lib")


def _short(file: str) -> str:
    """Below the current folder without it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file

"""The command as it is run: one message and an exit code where something goes wrong."""

from __future__ import annotations

import errno
import gc
import io
import logging
import os
import sys

from kedge.cli.app import app
from kedge.lazy_import import import_lazily

NOT_OURS = {  # places where nothing may be written, or read
    errno.EROFS: "it is on a disk that is read-only",
    errno.EACCES: "this user may not write or read there",
    errno.EPERM: "this user may not change it",
}


def main() -> None:
    """Run the command; what a user can cause ends with one message and exit code 2, without a traceback."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    # transformers warns that torchvision, which is not needed, is missing.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    _print_whatever_the_terminal()
    _first_process_talks()
    _current_folder_last()
    import_lazily("torch")
    try:
        app()
    except Exception as error:
        if os.environ.get("KEDGE_TRACEBACK"):
            raise
        code, message = explain(error)
        print(f"kedge: {message}", file=sys.stderr)
        sys.exit(code)
    finally:
        gc.freeze()  # at the end Python looks for garbage among everything that torch and others made: for two seconds


def _first_process_talks() -> None:
    """Of several processes (``torchrun``) the others say nothing but what ends them: they would say the same again."""
    if os.environ.get("RANK", "0") != "0":
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the program ends
        logging.getLogger("kedge").setLevel(logging.ERROR)


def _print_whatever_the_terminal() -> None:
    """What a terminal's encoding does not have (±, ü, a file's name in another one) is shown as a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _current_folder_last() -> None:
    """The current folder is looked into for modules of the user's own (``module:name``), after everything else.

    First, as ``python -m`` has it, an unrelated ``statistics.py`` there would take the place of Python's.
    """
    try:
        current = os.getcwd()
    except FileNotFoundError:  # it was removed meanwhile
        sys.exit("kedge: the current folder is not there any more: change to one that is")
    sys.path[:] = [place for place in sys.path if place not in ("", current)] + [current]


def explain(error: Exception) -> tuple[int, str]:
    """Exit code and message: 2 for what the user can change, 1 for what went wrong while it ran.

    Errors of any other kind are Kedge's own and are raised again.
    """
    text = str(error) or type(error).__name__
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "OutOfMemoryError" in kinds:
        return 1, (
            "out of memory. Lower training.batch_size (and raise training.accumulation to make up for it), or set "
            "memory.unet_checkpoint=true. An algorithm that follows the whole trajectory, as rocm does, has "
            "backprop.checkpoint=true and backprop.last_steps besides. More: docs/memory.md"
        )
    if getattr(error, "errno", None) == errno.ENOSPC and "DiskFullError" not in kinds:
        return 1, f"the disk is full ({text}): make room; a training goes on with --resume"
    if "DiskFullError" in kinds:
        return 1, f"{text}; a training goes on with --resume"
    if isinstance(error, OSError) and error.errno in NOT_OURS and error.filename:
        return 2, (
            f"{error.filename}: {NOT_OURS[error.errno]}. Choose another place (--out FOLDER), or have it opened to you"
        )
    if kinds & {"TrainingFailed", "RunFolderLost", "ProcessLost", "ServerError"}:
        return 1, text
    if "OverrideError" in kinds:
        return 2, f"on the command line, {text}"
    if kinds & {"ValueError", "OSError"}:
        return 2, text
    raise error

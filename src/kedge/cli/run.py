"""The command as it is run: one message and an exit code where something goes wrong."""

from __future__ import annotations

import logging
import os
import sys

from kedge.cli.app import app


def main() -> None:
    """Run the command; what a user can cause ends with one message and exit code 2, without a traceback."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    # transformers warns that torchvision, which is not needed, is missing.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if os.environ.get("RANK", "0") != "0":
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - of several processes, the first one talks
    sys.path.insert(0, os.getcwd())  # for module:name of the user's own, as ``python -m kedge`` has it
    try:
        app()
    except Exception as error:
        if os.environ.get("KEDGE_TRACEBACK"):
            raise
        code, message = explain(error)
        print(f"kedge: {message}", file=sys.stderr)
        sys.exit(code)


def explain(error: Exception) -> tuple[int, str]:
    """Exit code and message: 2 for what the user can change, 1 for what went wrong while it ran.

    Errors of any other kind are Kedge's own and are raised again.
    """
    text = str(error) or type(error).__name__
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "OutOfMemoryError" in kinds:
        return 1, (
            "out of memory. Lower training.batch_size (and raise training.accumulation to make up for it), set "
            "backprop.checkpoint=true, or backprop.last_steps to a small number"
        )
    if kinds & {"TrainingFailed", "ProcessLost", "ServerError"}:
        return 1, text
    if "OverrideError" in kinds:
        return 2, f"on the command line, {text}"
    if kinds & {"ValueError", "OSError"}:
        return 2, text
    raise error

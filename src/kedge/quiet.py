"""Loading and saving without the progress bars of diffusers and transformers, and without one of their warnings."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Inside, diffusers and transformers draw no progress bars; downloads still do."""
    warnings.filterwarnings("ignore", message=".*local_dir_use_symlinks")  # diffusers passes it on by itself
    noisy = []
    for library in (diffusers_logging, transformers_logging):
        if library.is_progress_bar_enabled():
            noisy.append(library)
    for library in noisy:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in noisy:
            library.enable_progress_bar()


@contextmanager
def without_remarks() -> Iterator[None]:
    """Inside, diffusers makes no remarks on what was asked for on purpose, such as times of the user's own."""
    before = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(before)


def _of_interest(record: logging.LogRecord) -> bool:
    """Not that torchvision is missing: nothing here needs it."""
    return "requires torchvision" not in record.getMessage()


logging.getLogger("transformers.utils.import_utils").addFilter(_of_interest)

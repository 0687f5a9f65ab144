"""A real Chromium for tests: the one on the path, or the one that KEDGE_CHROMIUM names."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    """Where it is."""
    named = os.environ.get("KEDGE_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser; skips the test loudly where there is none."""
    path = find_chromium()
    if path is None:
        reason = "NO BROWSER: the study's pages were NOT tested. Install chromium, or set KEDGE_CHROMIUM to one"
        warnings.warn(reason, stacklevel=2)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=180_000)
        yield browser
        browser.close()

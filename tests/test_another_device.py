"""What runs on a GPU, on an emulated one: ``tests/device`` without the slow ones, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from helpers.processes import environment


def test_runs_and_rewards_on_an_emulated_accelerator() -> None:
    folder = Path(__file__).parent
    options = ["-q", "-p", "no:cacheprovider", "-p", "helpers.emulated", "-m", "gpu and not slow"]
    command = [sys.executable, "-m", "pytest", *options, "device"]
    own = environment(folder, folder.parent, KEDGE_TEST_DEVICE="emulated")
    done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "skipped" not in done.stdout

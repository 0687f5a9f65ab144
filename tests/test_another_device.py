"""What runs on a GPU, on an emulated one: ``tests/device``, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_runs_and_rewards_on_an_emulated_accelerator() -> None:
    folder = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-p", "emulated", "-m", "gpu", "-q", "-p", "no:cacheprovider", "device"]
    environment = {
        **os.environ,
        "KEDGE_TEST_DEVICE": "emulated",
        "PYTHONPATH": f"{folder}:{folder.parent}",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "skipped" not in done.stdout

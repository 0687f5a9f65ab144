"""A run folder explains itself: what it was told, what it ran on, what came out."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedge import __version__
from kedge.config import RunConfig, dump
from kedge.files import write_text
from kedge.policies.fingerprint import Fingerprint

PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "numpy", "Pillow")


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """One JSON line a step."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """See :mod:`kedge.training.checkpoint`."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Grids, base beside tuned."""
        return self.path / "samples"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard events."""
        return self.path / "tensorboard"

    @property
    def lora(self) -> Path:
        """The exported adapter."""
        return self.path / "lora"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "README.md"

    @property
    def report(self) -> Path:
        """The page that shows it all."""
        return self.path / "report.html"

    @property
    def used(self) -> bool:
        """Whether a run has been here."""
        return self.config.exists() or self.checkpoints.exists()

    def open(self, config: RunConfig, processes: int, device: str, base: Fingerprint | None = None) -> None:
        """Make the folder and write ``config.yaml`` and ``env.json``, which also says what ``base`` is."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.config, dump(config))
        facts = environment(processes, device) | {"base": base.to_dict() if base else None}
        write_text(self.path / "env.json", json.dumps(facts, indent=2) + "\n")


def is_run(path: Path) -> bool:
    """Whether ``path`` is a run folder."""
    return (path / "config.yaml").is_file()


def fresh_folder(name: str, root: Path = Path("runs")) -> Path:
    """``runs/<name>``, or ``runs/<name>-2``, … when that is taken."""
    candidates = [root / name, *(root / f"{name}-{n}" for n in range(2, 10_000))]
    return next(path for path in candidates if not path.exists())


def environment(processes: int, device: str) -> dict[str, Any]:
    """Versions, hardware and the state of the source, for whoever repeats the run."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "kedge": __version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "accelerators": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
        "cuda": torch.version.cuda,
        "processes": processes,
        "git": _git_state(),
    }


def _git_state() -> dict[str, Any] | None:
    """Commit of Kedge's own source, when it runs from a checkout."""

    def git(*arguments: str) -> str:
        package = Path(__file__).parent
        return subprocess.run(
            ["git", *arguments], cwd=package, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if "site-packages" in __file__:
            return None
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "--", "."))}
    except (OSError, subprocess.CalledProcessError):
        return None

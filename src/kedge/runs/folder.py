"""The files of a run: its configuration, its environment, its results."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kedge import __version__
from kedge.config import ConfigError, RunConfig, dump
from kedge.files import read_json, write_text
from kedge.policies.fingerprint import Fingerprint
from kedge.runs.history import History

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
        """See :mod:`kedge.runs.checkpoint`."""
        return self.path / "checkpoints"

    @property
    def ended(self) -> Path:
        """How it ended; not there while it trains, nor where it was interrupted."""
        return self.path / "ended.json"

    @property
    def samples(self) -> Path:
        """Grids, base beside tuned."""
        return self.path / "samples"

    @property
    def watched(self) -> Path:
        """Every evaluation while it trained: ``step-00000100.json``."""
        return self.path / "watched"

    @property
    def frontier(self) -> Path:
        """What ``kedge frontier`` found."""
        return self.path / "frontier"

    @property
    def transfer(self) -> Path:
        """What ``kedge compare --transfer`` found."""
        return self.path / "transfer"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard events."""
        return self.path / "tensorboard"

    @property
    def lora(self) -> Path:
        """The exported adapter."""
        return self.path / "lora"

    @property
    def code(self) -> Path:
        """Copies of the user's own files that it was made with: see :mod:`kedge.runs.own_code`."""
        return self.path / "code"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "README.md"

    @property
    def report(self) -> Path:
        """The page that shows it all."""
        return self.path / "report.html"

    @property
    def history(self) -> Path:
        """How it was trained, stretch by stretch: see :mod:`kedge.runs.history`."""
        return self.path / "history.json"

    @property
    def trained_prompts(self) -> str | None:
        """The hash of the prompts that the run was trained on; None of one that does not say."""
        try:
            stretches = History.from_list(read_json(self.history)["stretches"]).stretches
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return stretches[-1].contents.get("prompts") if stretches else None

    @property
    def used(self) -> bool:
        """Whether a run has been here."""
        return self.config.exists() or self.checkpoints.exists()

    def files(self) -> list[Path]:
        """Everything that a run writes."""
        named = [self.config, self.metrics, self.checkpoints, self.samples, self.tensorboard, self.lora]
        return [*named, self.code, self.card, self.report, self.history, self.path / "env.json"]

    def foreign(self) -> list[str]:
        """Names of files in a folder without a run that a run would overwrite."""
        return [] if self.used else sorted(path.name for path in self.files() if path.exists())

    def open(
        self,
        config: RunConfig,
        processes: int,
        device: str,
        base: Fingerprint | None = None,
        history: History | None = None,
    ) -> None:
        """Make the folder and write config, history, and ``env.json``, which also says what ``base`` is."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.ended.unlink(missing_ok=True)
        if not self._says(dump(config)):
            write_text(self.config, dump(config))
        facts = environment(processes, device) | {"base": base.to_dict() if base else None}
        write_text(self.path / "env.json", json.dumps(facts, indent=2) + "\n")
        (history or History()).write(self.history)

    def _says(self, text: str) -> bool:
        """Whether ``config.yaml`` says the same, however it is written: a resumed run's stays as it was."""
        try:
            return bool(yaml.safe_load(self.config.read_bytes()) == yaml.safe_load(text))
        except (OSError, yaml.YAMLError, UnicodeDecodeError):
            return False


def is_run(path: Path) -> bool:
    """Whether ``path`` is a run folder."""
    return (path / "config.yaml").is_file()


def check_parent(path: Path, resume: bool = False) -> None:
    """Refuse what no new run can start from (``--from``), before anything loads.

    Raises:
        ConfigError: if it is no run folder, or a run is gone on with at the same time.
    """
    if resume:
        raise ConfigError("--resume goes on with a run, --from starts a new one: give one of them")
    if not is_run(path):
        raise ConfigError(f"--from {path}: that is no run folder (it has no config.yaml)")


def fresh_folder(name: str, root: Path = Path("runs")) -> Path:
    """``runs/<name>``, or ``runs/<name>-2``, … when that is taken."""
    return next(path for path in numbered(root / name) if not path.exists())


def numbered(path: Path) -> Iterator[Path]:
    """``path``, ``path-2``, ``path-3``, … without end."""
    yield path
    yield from (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))


def forget_after(folder: RunFolder, step: int) -> None:
    """Remove evaluations and grids of later steps, which a run that goes on from ``step`` makes anew, or never."""
    for path in (*folder.watched.glob("step-*.json"), *folder.samples.glob("step-*.png")):
        number = path.stem.removeprefix("step-")
        if number.isdecimal() and int(number) > step:
            path.unlink()


def environment(processes: int, device: str) -> dict[str, Any]:
    """Versions, hardware and the state of the source, for whoever repeats the run."""
    import torch

    devices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    return {
        "kedge": __version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "accelerators": list(map(torch.cuda.get_device_name, devices)),
        "cuda": torch.version.cuda,
        "processes": processes,
        "git": _git_state(),
    }


@cache
def processor() -> str:
    """The processor's name, as far as the system tells it; else its architecture."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    for line in lines:
        key, _, name = line.partition(":")
        if key.strip() == "model name" and name.strip():
            return name.strip()
    return platform.processor() or platform.machine()


@cache
def _git_state() -> dict[str, Any] | None:
    """Commit of Kedge's own source, when it runs from a checkout: as it was when this process first said so."""

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

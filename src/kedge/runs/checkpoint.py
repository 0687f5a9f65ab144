"""Checkpoints that can be trusted: written whole or not at all, checked when read, the last few kept.

``checkpoints/step-00000100/`` holds ``state.pt`` and ``manifest.json`` with its SHA-256. A checkpoint is written under
another name, read back, and renamed into place: whatever carries the name was complete. What a process draws at random
is part of it: the global streams are kept as plain data and tensors.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import random
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kedge.files import remove, replacing
from kedge.runs.history import History

log = logging.getLogger(__name__)

FORMAT = 1
_NAME = re.compile(r"step-(\d{8,})$")


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read."""


@dataclass(frozen=True)
class Saved:
    """A whole checkpoint.

    Attributes:
        step: optimizer steps done.
        sha256: of its state.
        history: how the run was trained up to it; empty in checkpoints of older versions.
    """

    step: int
    sha256: str
    history: History


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        folder: where they live; made when the first is saved.
        keep: how many of the last to keep.
    """

    def __init__(self, folder: Path, keep: int = 2):
        self.folder, self.keep = folder, keep

    def save(self, step: int, state: dict[str, Any], history: History | None = None) -> Path:
        """Write ``state`` (tensors and plain data) as the checkpoint of ``step``.

        Those of later steps go: the run went back behind them, because they were damaged, and none of them is its own
        any more.

        Args:
            history: how the run was trained up to here; readable without the state.

        Raises:
            CheckpointError: if the state holds something that could not be read back.
            DiskFullError: if there is no room for it; nothing of it is left behind.
        """
        final = self.folder / f"step-{step:08d}"
        with replacing(final) as draft:  # a resumed run passes the same step again
            draft.mkdir()
            torch.save(state, draft / "state.pt")
            digest = _digest(draft / "state.pt")
            manifest = {"format": FORMAT, "step": step, "sha256": digest, "history": (history or History()).to_list()}
            (draft / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
            _read_state(draft)
        self._forget_old(step)
        return final

    def latest(self, until: int | None = None) -> tuple[int, dict[str, Any]] | None:
        """Step and state of the newest checkpoint that is whole; damaged ones are passed over with a warning.

        Args:
            until: of those up to this step.
        """
        for step, path in self._newest_first():
            if until is not None and step > until:
                continue
            try:
                return step, read(path)
            except CheckpointError as error:
                log.warning("%s; going back to the one before", error)
        return None

    def newest(self) -> Saved | None:
        """What is known of the newest whole checkpoint without loading its state."""
        for step, path in self._newest_first():
            try:
                manifest = _manifest(path)
            except CheckpointError:
                continue
            return Saved(step, manifest["sha256"], _history(manifest))
        return None

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, whole or not, in order."""
        return sorted(step for step, _ in self._newest_first())

    def _newest_first(self) -> Iterator[tuple[int, Path]]:
        folders = []
        for path in self.folder.glob("step-*"):
            if match := _NAME.search(path.name):
                folders.append((int(match[1]), path))
        yield from sorted(folders, reverse=True)

    def _forget_old(self, newest: int) -> None:
        count = 0
        for step, path in list(self._newest_first()):
            count += step <= newest
            if step > newest or count > self.keep:
                with suppress(OSError):
                    remove(path)
        for draft in self.folder.glob(".step-*"):  # left by a process that was killed while it wrote
            shutil.rmtree(draft, ignore_errors=True)


def result_of(step: int, state: dict[str, Any], guard: str) -> tuple[int, list[torch.Tensor]]:
    """Step and weights of the adapter that a checkpoint stands for: the best that judges found, else this moment's.

    Args:
        guard: ``watch.guard`` as the run has it now: what judges chose before it was switched off is no result.
    """
    if guard == "best" and state.get("chosen"):
        return state["chosen"]["step"], state["chosen"]["weights"]
    return step, moment_of(state)


def moment_of(state: dict[str, Any]) -> list[torch.Tensor]:
    """The adapter's weights when a checkpoint was written; the moving average, if the run keeps one."""
    optimizer = state["optimizer"]
    weights: list[torch.Tensor] = optimizer["ema"]["average"] if optimizer["ema"] else optimizer["weights"]
    return weights


def read(path: Path) -> dict[str, Any]:
    """The state in one checkpoint folder.

    Raises:
        CheckpointError: if a file is missing, cut short or changed.
    """
    _manifest(path)
    return _read_state(path)


def _manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint whose state has the right checksum; CheckpointError for any other."""
    try:
        manifest: dict[str, Any] = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise CheckpointError(f"checkpoint {path} has format {manifest['format']}; this Kedge reads {FORMAT}")
        if _digest(path / "state.pt") != manifest["sha256"]:
            raise CheckpointError(f"checkpoint {path} is damaged (its checksum does not match)")
        return manifest
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:  # not UTF-8, not JSON, not ours
        raise CheckpointError(f"checkpoint {path} is damaged ({error})") from error


def _history(manifest: dict[str, Any]) -> History:
    """How the run was trained; empty in manifests of older versions, and where that part is damaged."""
    try:
        return History.from_list(manifest.get("history") or ())
    except (TypeError, KeyError):
        return History()


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"checkpoint {path} cannot be read back ({reason}); states may hold tensors, numbers, strings, lists and "
            "dicts only"
        ) from error
    return state


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries draw from the global stream
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """The global streams' states, as plain data and tensors."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    state: dict[str, Any] = {
        "python": [version, list(numbers), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Put the global streams back to where :func:`random_state` found them."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])

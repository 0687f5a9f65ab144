"""Where the numbers go: ``metrics.jsonl`` always, TensorBoard if wanted."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from torch import Tensor

from kedge.evaluation.run_log import finite_or_null, log_lines
from kedge.files import replacing

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


log = logging.getLogger(__name__)


class RunFolderLost(RuntimeError):
    """The run's folder was removed or renamed while it trained; the message says what is left to do."""


class Logger(Protocol):
    """Takes the numbers of each step, and now and then an image."""

    def start(self, step: int) -> None:
        """The run begins (0) or goes on after ``step``; nothing is opened or changed before."""

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """The numbers of one step."""

    def image(self, step: int, name: str, image: Tensor) -> None:
        """A picture ``[3, H, W]`` in [0, 1]."""

    def close(self) -> None:
        """The run is over."""


class JsonlLogger:
    """One JSON object a line: ``{"step": 3, "loss": …}``. Numbers that are not finite are written as null.

    Args:
        path: the file. When a run goes on, lines of steps after the one it goes on from (and a line cut short) are
            dropped from it first, so that it reads like the log of one uninterrupted run.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file: TextIO | None = None

    def start(self, step: int) -> None:
        """Open the file: empty, or with the lines up to ``step``."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        truncate_log(self._path, step)
        self._file = self._path.open("a", encoding="utf-8")

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Write one line, at once.

        Raises:
            RunFolderLost: the file is not there any more: the line, and each checkpoint, would be lost.
        """
        assert self._file is not None  # the run has started
        try:
            ours = os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            raise RunFolderLost(
                f"{self._path} is gone: the run's folder was removed or renamed while it trained. It stops before step "
                f"{step} is written; what was learnt since the last checkpoint is lost. If the folder has another name "
                "now, kedge train FOLDER --resume goes on there"
            ) from None
        if not ours:  # an editor saved it under the same name
            log.warning("%s was replaced by another file while the run wrote it: its lines go on there", self._path)
            self._file.close()
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(json.dumps({"step": step, **finite_or_null(numbers)}) + "\n")
        self._file.flush()

    def image(self, step: int, name: str, image: Tensor) -> None:
        """Images are files of their own."""

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class TensorBoardLogger:
    """TensorBoard events; after a resume, steps that are done again hide the earlier ones.

    Args:
        folder: where the events go.
        settings: the config's keys, dotted, and their values: shown as hyper-parameters and as a text.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any] | None = None):
        self._folder, self._settings = folder, settings or {}
        self._writer: SummaryWriter | None = None

    def start(self, step: int) -> None:
        """Open a file of events."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder), purge_step=step + 1 if step else None)
        if self._settings and not step:
            self._write_settings(self._writer)

    def _write_settings(self, writer: SummaryWriter) -> None:
        from torch.utils.tensorboard.summary import hparams

        lines = [f"    {key}: {value}" for key, value in self._settings.items()]  # Markdown's code
        writer.add_text("config", "\n".join(lines), 0)
        for summary in hparams(dict(self._settings), {}):
            writer._get_file_writer().add_summary(summary)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """One scalar each."""
        assert self._writer is not None  # the run has started
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def image(self, step: int, name: str, image: Tensor) -> None:
        """``[3, H, W]`` in [0, 1]."""
        assert self._writer is not None
        self._writer.add_image(name, image, step)

    def close(self) -> None:
        """Flush and close."""
        if self._writer is None:
            return
        try:
            self._writer.close()
        except FileNotFoundError:  # of a lost folder the run itself has told
            log.warning("%s is gone, and the last events with it", self._folder)


def truncate_log(path: Path, step: int) -> None:
    """Keep the lines up to ``step``, byte for byte; 0 keeps none, for the line of step 0 is written when a run begins.

    Damaged lines before the last one are reported, and the log with them is kept beside it.
    """
    lines = log_lines(path)
    damaged = []
    for number, (_, line) in enumerate(lines, start=1):
        if line is None and number < len(lines):
            damaged.append(number)
    if damaged:
        beside = unused(path.with_name(f"{path.stem}-damaged{path.suffix}"))
        shutil.copyfile(path, beside)
        log.warning("%s, line %s, cannot be read: left out; the log as it was is %s", path, damaged[0], beside)
    remaining = []
    for text, line in lines if step else ():
        if line is not None and (line["step"] or 0) <= step:
            remaining.append(text)
    steps = set()
    for _, line in lines:
        if line is not None:
            steps.add(line["step"])
    missing = sorted(set(range(1, step + 1)) - steps)
    if missing:
        lack = f"{len(missing)} of the {step} steps that the checkpoint has done, step {missing[0]} first"
        log.warning(
            "%s has no line of %s: curves and what the run spent lack them. Put the file back, if you have it, and "
            "resume again",
            path,
            lack,
        )
    with replacing(path) as draft:
        draft.write_bytes(b"".join(text + b"\n" for text in remaining))


def unused(path: Path) -> Path:
    """``path``, or with a number behind its stem where it exists."""
    number = 2
    free = path
    while free.exists():
        free, number = path.with_name(f"{path.stem}-{number}{path.suffix}"), number + 1
    return free

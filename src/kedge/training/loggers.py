"""Where the numbers go: ``metrics.jsonl`` always, TensorBoard if wanted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Protocol

from torch import Tensor

from kedge.files import write_text


class Logger(Protocol):
    """Takes the numbers of each step, and now and then an image."""

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """The numbers of one step."""

    def image(self, step: int, name: str, image: Tensor) -> None:
        """A picture ``[3, H, W]`` in [0, 1]."""

    def close(self) -> None:
        """The run is over."""


class JsonlLogger:
    """One JSON object a line: ``{"step": 3, "loss": …}``. Numbers that are not finite are written as null.

    Args:
        path: the file; lines of steps after ``resumed_at`` (and a line cut short) are dropped from it first, so that
            it reads like the log of one uninterrupted run.
        resumed_at: the step the run goes on from; None starts a new file.
    """

    def __init__(self, path: Path, resumed_at: int | None = None):
        path.parent.mkdir(parents=True, exist_ok=True)
        truncate_log(path, resumed_at)
        self._file = path.open("a", encoding="utf-8")

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Write one line, at once."""
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        self._file.write(json.dumps({"step": step, **finite}) + "\n")
        self._file.flush()

    def image(self, step: int, name: str, image: Tensor) -> None:
        """Images are files of their own."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardLogger:
    """TensorBoard events; after a resume, steps that are done again hide the earlier ones."""

    def __init__(self, folder: Path, resumed_at: int | None = None):
        from torch.utils.tensorboard import SummaryWriter

        purge = None if resumed_at is None else resumed_at + 1
        self._writer = SummaryWriter(str(folder), purge_step=purge)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """One scalar each."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def image(self, step: int, name: str, image: Tensor) -> None:
        """``[3, H, W]`` in [0, 1]."""
        self._writer.add_image(name, image, step)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


def read_log(path: Path) -> list[dict[str, float | None]]:
    """The lines of a metrics.jsonl; a last line that was cut short is left out."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found


def truncate_log(path: Path, resumed_at: int | None) -> None:
    """Keep the lines up to step ``resumed_at``; None keeps none."""
    kept = [] if resumed_at is None else [line for line in read_log(path) if (line["step"] or 0) <= resumed_at]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))

"""The processes that train together: who writes, and how gradients and numbers are averaged."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import gather_object, get_int_from_env
from torch import Tensor
from torch.nn import Parameter

from kedge.devices import AUTO, find_device

log = logging.getLogger(__name__)
COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")  # launchers' own variables
LONG_WAIT = 60  # seconds after which the first process says that it waits
PATIENCE = timedelta(hours=2)  # the others wait while the first process draws samples and evaluates


class ProcessLost(RuntimeError):
    """Another of the processes that train together has ended, or cannot be reached."""


def _launched() -> bool:
    """Whether a launcher (``accelerate launch``, ``torchrun``, MPI) started this process beside others."""
    return "LOCAL_RANK" in os.environ or get_int_from_env(COUNTS, 1) > 1


class Processes:
    """This process and the others of its training (one alone, unless started by ``accelerate launch`` or ``torchrun``).

    Args:
        device: as for :func:`kedge.devices.find_device`.

    Attributes:
        device: where this process computes.
        index, count: which process this is, of how many.
    """

    def __init__(self, device: str = AUTO):
        self.device, self.index, self.count = find_device(device), 0, 1
        if not _launched():  # Accelerate would keep the first device that it is given, for every training to come
            return
        # Without a GPU Accelerate must know so, or it treats each process as a training of its own.
        cpu = self.device.type == "cpu"
        self._accelerator = Accelerator(cpu=cpu, kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)])
        self.index, self.count = self._accelerator.process_index, self._accelerator.num_processes
        if self.count > 1:  # threads that still listen when the interpreter exits would abort it
            atexit.register(self._accelerator.end_training)
            self.device = self._accelerator.device  # one each

    @property
    def main(self) -> bool:
        """Whether this process writes files and prints."""
        return bool(self.index == 0)

    def average_gradients(self, parameters: Sequence[Parameter]) -> None:
        """Replace every gradient by its mean over processes, in one message."""
        if self.count == 1:
            return
        # A process whose losses did not touch a parameter still takes part in the sum.
        gradients = []
        for parameter in parameters:
            gradients.append(parameter.grad if parameter.grad is not None else torch.zeros_like(parameter))
        with self._together():
            flat = self._accelerator.reduce(torch.cat([g.flatten() for g in gradients]), reduction="mean")
        for parameter, part in zip(parameters, flat.split([g.numel() for g in gradients]), strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def average(self, numbers: dict[str, float]) -> dict[str, float]:
        """The mean of each number over the processes that have it."""
        if self.count == 1:
            return numbers
        gathered = self.gather([numbers])
        columns: dict[str, list[float]] = {}
        for item in gathered:
            for key, number in item.items():
                columns.setdefault(key, []).append(number)
        return {key: sum(column) / len(column) for key, column in columns.items()}

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process, so that all act together."""
        if self.count == 1:
            return flag
        with self._together():
            total: Tensor = self._accelerator.reduce(torch.tensor(float(flag), device=self.device), reduction="sum")
            return bool(total > 0)

    def gather(self, items: list[Any]) -> list[Any]:
        """The lists of all processes, joined in their order; the same answer everywhere."""
        if self.count == 1:
            return items
        with self._together():
            everyone: list[Any] = gather_object(items)
            return everyone

    def first(self, value: Any) -> Any:
        """What the first process has, on all of them."""
        return self.gather([value])[0]

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.count == 1:
            return
        with self._together():
            self._accelerator.wait_for_everyone()

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Around every collective call: reports a process that is lost, and warns after a long wait."""
        timer = threading.Timer(LONG_WAIT, self._say_waiting)
        timer.daemon = True
        if self.main:  # the others wait long, and rightly, while the first evaluates
            timer.start()
        try:
            yield
        except RuntimeError as error:  # torch's DistBackendError, and gloo's own, which has no class
            if "OutOfMemoryError" in type(error).__name__:
                raise
            raise ProcessLost(
                f"process {self.index} of {self.count} can no longer reach the others: one of them has ended (its own "
                "message says why). Checkpoints are whole: go on from the last one with --resume and as many processes"
            ) from error
        finally:
            timer.cancel()

    def _say_waiting(self) -> None:
        log.warning(
            "process %d of %d has waited %d s for the others: is one of them stopped, or out of work?",
            self.index,
            self.count,
            LONG_WAIT,
        )

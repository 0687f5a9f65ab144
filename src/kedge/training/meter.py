"""What a run spends: reward queries, time and memory."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kedge.rewards.base import PartedReward, Reward, Sums, in_parts, means_of
from kedge.training.processes import Processes
from kedge.units import MB


class CountedReward:
    """A reward that counts the images it is shown, and adds up what its parts say of them.

    Attributes:
        images: how many so far.
        summands: as :class:`kedge.rewards.base.PartedReward` has them.
    """

    def __init__(self, reward: Reward):
        self.reward, self.images = reward, 0
        self.name, self.differentiable = reward.name, reward.differentiable
        self._sums = Sums()

    @property
    def summands(self) -> Mapping[str, float]:
        """Of the reward itself; they may change while it trains."""
        return self.reward.summands if isinstance(self.reward, PartedReward) else {}

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """The reward itself: ``[B]`` from ``[B, 3, H, W]``."""
        return self.in_parts(images, prompts)[0]

    def in_parts(self, images: Tensor, prompts: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """The same with its parts."""
        self.images += len(images)
        score, parts = in_parts(self.reward, images, prompts)
        for name, values in parts.items():
            self._sums.add(name, values)
        return score, parts

    def take_sums(self) -> dict[str, tuple[float, int]]:
        """Of each part: its scores added up, and how many they were, since the last time."""
        return self._sums.take()


class Meter:
    """Reads off, after each optimizer step, what all processes together have spent on training (not on watching it).

    Args:
        reward: the one trained on, counted on this process.
    """

    def __init__(self, reward: CountedReward, processes: Processes):
        self._reward, self._processes = reward, processes
        self._read = 0
        forget_peak(processes.device)
        self._clock = time.perf_counter()

    def start(self) -> None:
        """Time counts from now."""
        self._clock = time.perf_counter()

    def read(self) -> dict[str, float]:
        """``queries`` and ``seconds`` since the last step, ``total_queries``, and ``peak_memory_mb`` (10⁶ bytes).

        Of a reward that is made of others also ``reward/NAME``, the mean of each since the last step, in its own units.

        Gathering experience counts towards the first step that uses it. Queries are those of all processes, time is
        this one's, memory that of whichever took most.
        """
        seconds = time.perf_counter() - self._clock
        own = self._reward.images, peak_memory(self._processes.device), self._reward.take_sums()
        parts = self._processes.gather([own])
        total = sum(images for images, _, _ in parts)
        queries, self._read = total - self._read, total
        memory = max(memory for _, memory, _ in parts) / MB
        spending = {"queries": queries, "total_queries": total, "seconds": seconds, "peak_memory_mb": memory}
        means = means_of([sums for _, _, sums in parts])
        return {**spending, **{f"reward/{name}": mean for name, mean in means.items()}}

    def state_dict(self) -> dict[str, int]:
        """This process's count."""
        return {"images": self._reward.images}

    def load_state_dict(self, own: Mapping[str, int], everyone: Sequence[Mapping[str, int]]) -> None:
        """Go on from the counts that this process and all of them had."""
        self._reward.images = own["images"]
        self._read = sum(one["images"] for one in everyone)


def forget_peak(device: torch.device) -> None:
    """Start the count of :func:`peak_memory` again from what is held now, where the system can (GPUs, Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what was freed: an earlier run's, perhaps
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """The most memory this process has held, in bytes: of the GPU if it computes there, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):  # Linux: unlike rusage's, without what a large process was that started this one
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    import resource  # not on every platform

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass(frozen=True)
class Spent:
    """What a whole run took.

    Attributes:
        queries: images scored for training, on all processes.
        seconds: of training, without evaluations and sample grids.
        peak_memory_mb: of the process that took most, in 10⁶ bytes.
    """

    queries: int
    seconds: float
    peak_memory_mb: float

    def __str__(self) -> str:
        minutes, seconds = divmod(round(self.seconds), 60)
        return f"{self.queries} reward queries, {minutes} min {seconds:02d} s, {self.peak_memory_mb:.0f} MB at most"


def spent(log: Sequence[Mapping[str, float | None]]) -> Spent:
    """The account of a run from the lines of its metrics.jsonl, interruptions included."""
    queries = seconds = memory = 0.0
    for line in log:
        queries = max(queries, line.get("total_queries") or 0)
        seconds += line.get("seconds") or 0
        memory = max(memory, line.get("peak_memory_mb") or 0)
    return Spent(int(queries), seconds, memory)

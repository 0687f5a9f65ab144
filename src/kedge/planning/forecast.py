"""What a run will take: memory, time and disk, from a rehearsal on the meta device and the time of its operations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import torch

from kedge.config import RunConfig
from kedge.config.workload import workload_of
from kedge.devices import find_device
from kedge.planning.step import Rehearsal, rehearse
from kedge.planning.timing import seconds
from kedge.units import GB, MB


@dataclass(frozen=True)
class Forecast:
    """What a run will take on each process.

    Attributes:
        device: ``cpu`` or ``cuda``.
        rehearsal: what it was derived from.
        peak: bytes at the worst moment: of the process on a CPU, of tensors on a GPU.
        seconds: for one optimizer step, evaluations and sample grids aside; None where the device is not here.
        disk: bytes of checkpoints and exported adapters.
    """

    device: str
    rehearsal: Rehearsal
    peak: float
    seconds: float | None
    disk: float


def forecast(config: RunConfig) -> Forecast | None:
    """None for a policy of the user's own, and for a model of which nothing is known until its files are here."""
    base = psutil.Process().memory_info().rss
    found = rehearse(config)
    if found is None:
        return None
    device = find_device(config.training.device, here=False)
    trained = found.networks.trained * 4
    moments = trained * (0.5 if config.optimizer.name == "adamw8bit" else 2) + trained * bool(config.optimizer.ema)
    watched = found.watching.peak if config.watch.samples_every or config.watch.evaluate_every else 0
    peak = found.networks.bytes + moments + max(found.step.peak, watched)
    if device.type == "cpu":
        loading = found.networks.bytes + found.networks.largest_file
        peak = base + max(peak + _cached_prompts(config, found), loading)
    here = device.type != "cuda" or torch.cuda.is_available()
    return Forecast(
        device=device.type,
        rehearsal=found,
        peak=peak,
        seconds=seconds(found.step, device) if here else None,
        disk=(trained * 3 + trained * bool(config.optimizer.ema)) * (config.checkpoint.keep + 1) + 2 * trained,
    )


def describe(config: RunConfig, found: Forecast) -> Iterator[str]:
    """A line for each fact."""
    networks = found.rehearsal.networks
    parts = ", ".join(f"{name} {_count(count)}" for name, (count, _) in networks.sizes.items())
    yield f"parameters: {parts}; trained: {_count(networks.trained)}"
    if networks.unknown:
        yield f"left out of what follows, for want of knowledge: {', '.join(networks.unknown)}"
    where = "the process" if found.device == "cpu" else "tensors on the GPU"
    activations = found.rehearsal.step.peak
    yield (
        f"peak memory: {found.peak / GB:.2f} GB ({where}), of which weights {networks.bytes / GB:.2f} and "
        f"what a step needs besides {activations / GB:.2f}"
    )
    flops = found.rehearsal.step.flops
    if found.seconds is None:
        yield f"time: {flops / 1e12:.3g} TFLOP a step; this machine has no such device to time"
    else:
        hours = found.seconds * config.training.steps / 3600
        yield (
            f"time: {found.seconds:.3g} s a step ({flops / 1e12:.3g} TFLOP, each operation timed here), "
            f"{_duration(hours)} for {config.training.steps} steps without watching"
        )
    yield f"disk: {max(1, round(found.disk / MB))} MB for checkpoints and adapters"


def _cached_prompts(config: RunConfig, found: Rehearsal) -> int:
    work = workload_of(config)
    seen = work.batches(config.training.steps) * work.samples
    return min(config.memory.prompt_cache_mb * MB, seen * found.prompt)


def _count(number: int) -> str:
    return f"{number / 1e6:.4g} M"


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(hours * 60))} min"

"""How long a counted computation takes on a device: its largest operations are timed there, each by itself.

The speed of a product or a convolution depends on its shape more than a few rates could say, so each kind of operation
that was counted (:mod:`kedge.planning.operations`) is timed with tensors of its own shape and multiplied by how often
it occurs. Small operations are not timed: their time, estimated from the device's rates, is corrected by the same
factor as that of the timed ones. Where other programs use the processors, repeats of an operation differ, and the
result is a range.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from kedge.planning.kernels import kernel
from kedge.planning.operations import ATTENTION, Operation, OperationCost, TensorSpec
from kedge.units import duration

SHARE = 0.95  # of the estimated time is timed, the largest operations first
LONGEST = 1.5  # seconds of timing, after which the rest is estimated
REPEATS = 3
LARGE = 0.1  # seconds: an operation that takes a CPU as long is called once
SOON = 0.08  # seconds for each of a device's rates
APART = 1.15  # ratio of usual to best time up to which the difference is noise
BUSY = 0.8  # share of the wall time below which other programs had the processor
SHORT = 1e9  # floating-point operations of attention below which a call's overhead would count once for each share
CACHE = 2**26  # bytes that are read before each try, so that weights come from memory as in the real step


@dataclass(frozen=True)
class Elapsed:
    """Seconds that something takes here.

    Attributes:
        best: each operation as fast as its fastest repeat.
        usual: each as fast as the median of its repeats.
        busy: other programs held the processor for a good part of the time.
    """

    best: float
    usual: float
    busy: bool = False

    def __mul__(self, times: float) -> Elapsed:
        """Again and again."""
        return Elapsed(self.best * times, self.usual * times, self.busy)

    def __str__(self) -> str:
        """``2 s``; ``2 to 3 s`` where the two differ by more than timing does."""
        if self.usual < APART * self.best:
            return duration(self.best)
        low, high = duration(self.best), duration(self.usual)
        unit = high.partition(" ")[2]
        return f"{low.removesuffix(f' {unit}')} to {high}" if low != high else low


def seconds(cost: OperationCost, device: torch.device) -> Elapsed:
    """How long ``cost`` takes on ``device``, which must be present."""
    rates, timer = measure_rates(device, torch.float32), Timer(device)
    expected = {operation: count * _expected(operation, rates) for operation, count in cost.operations.items()}
    whole, covered, best, usual = sum(expected.values()), 0.0, 0.0, 0.0
    began = time.perf_counter()
    for operation in sorted(expected, key=lambda operation: -expected[operation]):
        if covered >= SHARE * whole or time.perf_counter() - began > LONGEST:
            break
        once = timer(operation)
        if once is not None:
            covered += expected[operation]
            best += once.best * cost.operations[operation]
            usual += once.usual * cost.operations[operation]
    if not covered:
        return Elapsed(whole, whole)
    least = 0.0 if device.type == "cpu" else cost.calls * rates.call  # a GPU's host runs ahead
    scale = whole / covered
    return Elapsed(max(best * scale, least), max(usual * scale, least), timer.busy)


def _expected(operation: Operation, rates: DeviceRates) -> float:
    return operation.flops / rates.flops + operation.traffic / rates.bandwidth + rates.call


class Timer:
    """Times operations on a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cache = torch.zeros(CACHE // 4, device=device) if device.type == "cpu" else None
        self._elapsed = self._computing = 0.0  # seconds by the clock, and those that this thread had the processor

    @property
    def busy(self) -> bool:
        """Whether this thread had to wait for a processor; an accelerator is waited for, so nothing is known there."""
        return self._device.type == "cpu" and self._computing < BUSY * self._elapsed

    def __call__(self, operation: Operation) -> Elapsed | None:
        """Seconds of one call; None if it cannot be run by itself (one that draws random numbers, say)."""
        part, parts = _share_of_heads(operation) if self._device.type == "cpu" else (operation, 1)
        try:
            work, warm = self._prepare(part)
            with torch.no_grad():
                first = self._once(work, warm)  # its kernel is loaded, too, which may take a GPU as long as this
                if first > LARGE and self._device.type == "cpu":
                    return Elapsed(first, first) * parts
                times = [self._once(work, warm) for _ in range(REPEATS)]
            return Elapsed(min(times), statistics.median(times)) * parts
        except (RuntimeError, TypeError, NotImplementedError):
            return None

    def _once(self, work: Callable[[], Any], warm: list[Tensor]) -> float:
        if self._cache is not None:
            self._cache.sum()  # half of the traffic of writing it, which was most of the time that a plan took
            for tensor in warm:  # what the operation before has just written
                tensor.sum()
        wait(self._device)
        began, had = time.perf_counter(), time.thread_time()
        work()
        wait(self._device)
        elapsed = time.perf_counter() - began
        self._elapsed += elapsed
        self._computing += time.thread_time() - had
        return elapsed

    def _prepare(self, operation: Operation) -> tuple[Callable[[], Any], list[Tensor]]:
        warm: list[Tensor] = []

        def real(value: Any) -> Any:
            if isinstance(value, TensorSpec):
                tensor = self._tensor(value)
                if not value.lasting and tensor.numel() * tensor.element_size() < CACHE // 4:
                    warm.append(tensor)
                return tensor
            if isinstance(value, tuple):
                return list(map(real, value))
            return self._device if isinstance(value, torch.device) else value

        args, kwargs = list(map(real, operation.args)), {name: real(value) for name, value in operation.kwargs}
        return kernel(operation.function, args, kwargs, self._device), warm

    def _tensor(self, spec: TensorSpec) -> Tensor:
        extent = 1 + sum((size - 1) * step for size, step in zip(spec.shape, spec.stride, strict=True))
        storage = torch.zeros(max(0, extent), dtype=spec.dtype, device=self._device)
        if spec.dtype.is_floating_point:
            storage.normal_()
        return storage.as_strided(spec.shape, spec.stride)


def _share_of_heads(operation: Operation) -> tuple[Operation, int]:
    """Attention with one head for each thread, and how many times as many there are: all take equally long."""
    packet, threads = operation.function.overloadpacket, torch.get_num_threads()
    if packet not in ATTENTION or operation.flops < SHORT:
        return operation, 1
    first = operation.args[0]  # the queries, or the gradient of the result: [B, heads, L, width] as all are
    assert isinstance(first, TensorSpec)
    heads = first.shape[1]
    if heads <= threads or heads % threads:
        return operation, 1

    def fewer(value: Hashable) -> Hashable:
        if not isinstance(value, TensorSpec) or len(value.shape) < 3 or value.shape[1] != heads:
            return value
        return value._replace(shape=(value.shape[0], threads, *value.shape[2:]))

    kwargs = tuple((name, fewer(value)) for name, value in operation.kwargs)
    return replace(operation, args=tuple(map(fewer, operation.args)), kwargs=kwargs), heads // threads


@dataclass(frozen=True)
class DeviceRates:
    """What a device does in a second.

    Attributes:
        flops: floating-point operations in large matrix products and convolutions.
        bandwidth: bytes that element-wise operations read and write.
        call: seconds until the host has started one operation.
    """

    flops: float
    bandwidth: float
    call: float


@cache
def measure_rates(device: torch.device, dtype: torch.dtype) -> DeviceRates:
    """Time a matrix product, a convolution, a multiplication and a trifle on ``device``, once in a process."""
    size = 1024 if device.type == "cpu" else 8192
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)
    product = 2 * size**3 / _fastest(lambda: a @ b, device)
    side = 32 if device.type == "cpu" else 128
    image = torch.randn(1, 320, side, side, device=device, dtype=dtype)
    kernel = torch.randn(320, 320, 3, 3, device=device, dtype=dtype)
    convolution = 2 * 9 * 320**2 * side**2 / _fastest(lambda: torch.conv2d(image, kernel, padding=1), device)
    large = torch.zeros(2**24, device=device, dtype=dtype)
    traffic = 2 * large.numel() * large.element_size() / _fastest(lambda: large * 2, device)
    small = torch.zeros(1, device=device)
    call = _fastest(lambda: [small + 1 for _ in range(100)], device) / 100
    return DeviceRates(2 / (1 / product + 1 / convolution), traffic, call)


def _fastest(work: Callable[[], object], device: torch.device) -> float:
    """The fastest of thirteen tries, or of as many as can be had soon: four at least."""
    best, first = float("inf"), time.perf_counter()
    for tries in range(13):
        if tries > 3 and time.perf_counter() - first > SOON:
            break
        wait(device)
        began = time.perf_counter()
        work()
        wait(device)
        best = min(best, time.perf_counter() - began)
    return best


def wait(device: torch.device) -> None:
    """Wait until ``device`` has finished its work: an accelerator computes on while the host reads the clock."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)

"""How long a counted computation takes on a device: its largest operations are timed there, each by itself.

The speed of a product or a convolution depends on its shape more than a few rates could say, so each kind of operation
that was counted (:mod:`kedge.planning.operations`) is timed with tensors of its own shape and multiplied by how often
it occurs. Small operations are not timed: their time, estimated from the device's rates, is corrected by the factor of
those that were timed of their kind, for attention may take three times what a large product's rate says. Where other
programs use the processors, repeats of an operation differ, and the result is a range.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from kedge.planning.attention_share import share_of_attention
from kedge.planning.kernels import kernel
from kedge.planning.operations import Operation, OperationCost, TensorSpec
from kedge.units import duration

SHARE = 0.95  # of the estimated time is timed at most
LONGEST = 1.0  # seconds of timing, after which the rest is estimated
REPEATS = 3
LARGE = 0.1  # seconds: an operation that takes a CPU as long is called once
SOON = 0.06  # seconds for each of a device's rates
APART = 1.15  # ratio of usual to best time up to which the difference is noise
BUSY = 0.8  # share of the wall time below which other programs had the processor
CACHE = 2**28  # bytes that are read before each try, more than caches hold: weights come from memory, as in a step
WARM = 2**24  # bytes up to which what the operation before has written is still in a cache


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
    whole, covered, began = sum(expected.values()), 0.0, time.perf_counter()
    timed: dict[Hashable, _Timed] = defaultdict(_Timed)
    together = _Timed()
    for operation in _in_order(expected, rates):
        if covered >= SHARE * whole or time.perf_counter() - began > LONGEST:
            break
        once = timer(operation)
        if once is not None:
            covered += expected[operation]
            for group in (timed[_kind(operation, rates)], together):
                group.add(expected[operation], once * cost.operations[operation])
    if not covered:
        return Elapsed(whole, whole)
    best = usual = 0.0
    for operation, share in expected.items():
        alike = timed.get(_kind(operation, rates), together)
        best += share * alike.best / alike.expected
        usual += share * alike.usual / alike.expected
    least = 0.0 if device.type == "cpu" else cost.calls * rates.call  # a GPU's host runs ahead
    return Elapsed(max(best, least), max(usual, least), timer.busy)


@dataclass
class _Timed:
    """What timed operations took, and what the device's rates say of them, in seconds."""

    expected: float = 0.0
    best: float = 0.0
    usual: float = 0.0

    def add(self, expected: float, elapsed: Elapsed) -> None:
        """Another one."""
        self.expected += expected
        self.best += elapsed.best
        self.usual += elapsed.usual


def _kind(operation: Operation, rates: DeviceRates) -> Hashable:
    """Operations that miss the device's rates by about the same factor: of one function, held up by the same thing."""
    computes = operation.flops / rates.flops > operation.traffic / rates.bandwidth
    return operation.function.overloadpacket, computes


def _in_order(expected: Mapping[Operation, float], rates: DeviceRates) -> Iterator[Operation]:
    """Every operation, the largest of its kind first, from the kind with the largest share for each that it has had."""
    kinds: dict[Hashable, list[Operation]] = defaultdict(list)
    share: dict[Hashable, float] = defaultdict(float)
    for operation in sorted(expected, key=lambda operation: expected[operation]):
        kind = _kind(operation, rates)
        kinds[kind].append(operation)
        share[kind] += expected[operation]
    turns = dict.fromkeys(kinds, 1)
    while kinds:
        kind = max(kinds, key=lambda kind: share[kind] / turns[kind])
        turns[kind] += 1
        yield kinds[kind].pop()
        if not kinds[kind]:
            del kinds[kind]


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
        part, parts = operation, 1.0
        if self._device.type == "cpu":
            part, parts = share_of_attention(operation, torch.get_num_threads())
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
                if not value.lasting and tensor.numel() * tensor.element_size() < WARM:
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
        if spec.dtype.is_floating_point and self._device.type == "cpu":
            storage.fill_(0.5)  # it takes as long for any number, and to draw them longer than for most operations
        elif spec.dtype.is_floating_point:
            storage.normal_()
        return storage.as_strided(spec.shape, spec.stride)


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
    large, result = torch.zeros(2, 2**24, device=device, dtype=dtype)
    traffic = 2 * large.numel() * large.element_size() / _fastest(lambda: torch.mul(large, 2, out=result), device)
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

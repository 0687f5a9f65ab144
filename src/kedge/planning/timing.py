"""How long a counted computation takes on a device: the operations that matter are run there, each by itself.

What a product or a convolution reaches depends on its shape far more than on anything that a few rates could tell, so
each kind of operation that was counted (:mod:`kedge.planning.operations`) is timed with tensors of its own form and
multiplied by how often it comes. Those that hardly matter are taken to be as far from what the machine's rates say as
those that were timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kedge.planning.machine import Machine, measure, wait
from kedge.planning.operations import FUSED, Cost, Form, Operation

SHARE = 0.95  # of the time that the rates foretell is timed, the largest first
LONGEST = 20.0  # seconds of timing, after which what is left is judged by what was timed
REPEATS = 5
LARGE = 1.0  # seconds: an operation that takes as long is not repeated
CACHE = 2**26  # bytes that are written before each try, so that weights come from memory as in the real step


def seconds(cost: Cost, device: torch.device) -> float:
    """How long ``cost`` takes on ``device``, which has to be here."""
    machine = measure(device, torch.float32)
    guess = {operation: count * _foretold(operation, machine) for operation, count in cost.operations.items()}
    whole, timed, foretold, found = sum(guess.values()), Timer(device), 0.0, 0.0
    began = time.perf_counter()
    for operation in sorted(guess, key=lambda operation: -guess[operation]):
        if foretold >= SHARE * whole or time.perf_counter() - began > LONGEST:
            break
        once = timed(operation)
        if once is not None:
            foretold += guess[operation]
            found += once * cost.operations[operation]
    kernels = found * whole / foretold if foretold else whole
    return kernels if device.type == "cpu" else max(kernels, cost.calls * machine.call)  # a GPU's host runs ahead


def _foretold(operation: Operation, machine: Machine) -> float:
    return operation.flops / machine.flops + operation.traffic / machine.bandwidth + machine.call


class Timer:
    """Times operations on a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cache = torch.zeros(CACHE // 4, device=device) if device.type == "cpu" else None

    def __call__(self, operation: Operation) -> float | None:
        """Seconds of one call, at best; None if it cannot be run by itself (one that draws random numbers, say)."""
        try:
            work, warm = self._prepare(operation)
            with torch.no_grad():
                work()
                best = float("inf")
                for _ in range(REPEATS):
                    best = min(best, self._once(work, warm))
                    if best > LARGE:
                        break
            return best
        except (RuntimeError, TypeError, NotImplementedError):
            return None

    def _once(self, work: Callable[[], Any], warm: list[Tensor]) -> float:
        if self._cache is not None:
            self._cache.add_(1)
            for tensor in warm:  # what the operation before has just written
                tensor.sum()
        wait(self._device)
        began = time.perf_counter()
        work()
        wait(self._device)
        return time.perf_counter() - began

    def _prepare(self, operation: Operation) -> tuple[Callable[[], Any], list[Tensor]]:
        warm: list[Tensor] = []

        def real(value: Any) -> Any:
            if isinstance(value, Form):
                tensor = self._tensor(value)
                if not value.lasting and tensor.numel() * tensor.element_size() < CACHE // 4:
                    warm.append(tensor)
                return tensor
            if isinstance(value, tuple):
                return [real(item) for item in value]
            return self._device if isinstance(value, torch.device) else value

        args, kwargs = [real(value) for value in operation.args], {k: real(value) for k, value in operation.kwargs}
        function = operation.function
        if function.overloadpacket is FUSED and self._device.type != "cpu":
            query, key, value = args[:3]
            mask, scale = kwargs.get("attn_mask"), kwargs.get("scale")
            return lambda: F.scaled_dot_product_attention(query, key, value, mask, scale=scale), warm
        return lambda: function(*args, **kwargs), warm

    def _tensor(self, form: Form) -> Tensor:
        extent = 1 + sum((size - 1) * step for size, step in zip(form.shape, form.stride, strict=True))
        storage = torch.zeros(max(0, extent), dtype=form.dtype, device=self._device)
        if form.dtype.is_floating_point:
            storage.normal_()
        return storage.as_strided(form.shape, form.stride)

"""How fast this machine is: three numbers, measured in about a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Machine:
    """What a device does in a second.

    Attributes:
        flops: floating-point operations in large matrix products and convolutions.
        bandwidth: bytes that element-wise operations read and write.
        call: seconds until the host has started one operation.
    """

    flops: float
    bandwidth: float
    call: float


def measure(device: torch.device, dtype: torch.dtype) -> Machine:
    """Time a matrix product, a convolution, a multiplication and a trifle on ``device``."""
    size = 1024 if device.type == "cpu" else 8192
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    product = 2 * size**3 / _seconds(lambda: a @ b, device)
    side = 32 if device.type == "cpu" else 128
    image = torch.randn(1, 320, side, side, device=device, dtype=dtype)
    kernel = torch.randn(320, 320, 3, 3, device=device, dtype=dtype)
    convolution = 2 * 9 * 320**2 * side**2 / _seconds(lambda: torch.conv2d(image, kernel, padding=1), device)
    large = torch.zeros(2**24, device=device, dtype=dtype)
    traffic = 2 * large.numel() * large.element_size() / _seconds(lambda: large * 2, device)
    small = torch.zeros(1, device=device)
    call = _seconds(lambda: [small + 1 for _ in range(100)], device) / 100
    return Machine(2 / (1 / product + 1 / convolution), traffic, call)


def _seconds(work: Callable[[], object], device: torch.device, repeats: int = 12) -> float:
    """The fastest of some tries, after one that does not count."""
    best = float("inf")
    for _ in range(repeats + 1):
        wait(device)
        began = time.perf_counter()
        work()
        wait(device)
        best = min(best, time.perf_counter() - began)
    return best


def wait(device: torch.device) -> None:
    """Until ``device`` has done what it was told to: an accelerator works on while the host reads the clock."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)

"""How fast this machine is: three numbers, measured in about a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from kedge.training.counting import Cost

# What a real network reaches of the rates below, by device and precision: (arithmetic, traffic). Fitted on an AMD EPYC
# (Zen 4, one core) to the UNet of Stable Diffusion 1.5 at 64 and 128 px, forward and backward. No other device has been
# calibrated: there the rates are taken as they are.
CALIBRATED = {("cpu", torch.float32): (0.45, 2.0), ("cpu", torch.bfloat16): (0.81, 1.03)}


@dataclass(frozen=True)
class Machine:
    """What a device does in a second.

    Attributes:
        flops: floating-point operations in large matrix products and convolutions.
        bandwidth: bytes that element-wise operations read and write.
        call: seconds until the host has started one operation.
        calibrated: whether predictions for such a device and precision have been compared with measurements.
    """

    flops: float
    bandwidth: float
    call: float
    calibrated: bool = False

    def seconds(self, cost: Cost) -> float:
        """Arithmetic, then traffic, then starting them: on a CPU they do not overlap; on a GPU the host runs ahead."""
        return cost.flops / self.flops + cost.traffic / self.bandwidth + cost.calls * self.call


def expected(device: torch.device, dtype: torch.dtype) -> Machine:
    """What networks reach on ``device``: :func:`measure`, corrected where that has been calibrated."""
    raw, key = measure(device, dtype), (device.type, dtype)
    arithmetic, traffic = CALIBRATED.get(key, (1.0, 1.0))
    return Machine(raw.flops * arithmetic, raw.bandwidth * traffic, raw.call, calibrated=key in CALIBRATED)


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
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

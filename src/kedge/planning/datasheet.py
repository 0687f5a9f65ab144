"""How long a counted computation would take on a device that is not here: computed from its data sheet, not measured.

Each kind of operation takes as long as its arithmetic and its memory traffic do, at a share of the rates that the sheet
promises; none is fused with its neighbour. If the host needs longer to start them all, that is how long it takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from kedge.planning.operations import OperationCost, TensorSpec

REACHED = 0.5  # share of the promised rates: what large products reach in practice, assumed for all operations
CALL = 1e-5  # seconds until the host has started one operation, with what Python does around it; assumed
HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class DataSheet:
    """What the maker promises.

    Attributes:
        half: floating-point operations a second in half precision, dense.
        single: the same in float32, as torch multiplies by default (no TF32).
        bandwidth: bytes a second.
    """

    name: str
    half: float
    single: float
    bandwidth: float


H100 = DataSheet("H100", half=989e12, single=67e12, bandwidth=3.35e12)  # SXM, NVIDIA's data sheet of 2023


def seconds_on(sheet: DataSheet, cost: OperationCost) -> float:
    """How long ``cost`` would take there."""
    kernels = 0.0
    for operation, count in cost.operations.items():
        rate = sheet.half if _dtype(operation.args) in HALF else sheet.single
        kernels += count * (operation.flops / rate + operation.traffic / sheet.bandwidth) / REACHED
    return max(kernels, cost.calls * CALL)


def _dtype(arguments: Iterable[Any]) -> torch.dtype | None:
    """Of the first tensor among the arguments."""
    for value in arguments:
        if isinstance(value, TensorSpec):
            return value.dtype
        if isinstance(value, tuple) and (dtype := _dtype(value)) is not None:
            return dtype
    return None

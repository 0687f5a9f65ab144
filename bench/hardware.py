"""Which machine a bench ran on, and what its maker promises of it."""

from __future__ import annotations

from kedge.runs.folder import processor

# Dense peak of the tensor cores in half precision, operations a second, from the makers' data sheets.
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12, "3090": 71e12}


def hardware(device: str) -> str:
    """The name of the accelerator, or of the processor with the number of threads that torch uses."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(0)
    return f"{processor()} (CPU, {torch.get_num_threads()} thread)"


def peak_of(hardware: str) -> float | None:
    """Operations a second in half precision, from the maker's data sheet; None where it is not known."""
    return next((value for name, value in PEAK.items() if name in hardware), None)

"""Which device to compute on: the one that was named, or the best one here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

AUTO = "auto"


def find_device(name: str = AUTO, *, here: bool = True) -> torch.device:
    """The device that ``name`` stands for.

    Args:
        name: ``auto`` (this machine's accelerator, else the CPU), or as torch writes it: ``cpu``, ``cuda:1``, ``mps``.
        here: it has to be on this machine; False for plans for another one.

    Raises:
        ValueError: if there is no such device; the message says which there are.
    """
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == AUTO:
        return found or torch.device("cpu")
    count = torch.accelerator.device_count() if found else 0
    choices = f"here are: {', '.join(['cpu', *(f'{found}:{i}' for i in range(count))])}; auto takes the best"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"there is no device {name!r}; {choices}") from error
    present = device.type == "cpu" or (found is not None and device.type == found.type and (device.index or 0) < count)
    if here and not present:
        why = "" if found else f" (torch {torch.__version__} finds no GPU: is it a build for yours, with its driver?)"
        raise ValueError(f"there is no device {name!r} on this machine{why}; {choices}")
    return device

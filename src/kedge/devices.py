"""Which device to compute on: the one that was named, or the best one here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

AUTO = "auto"
OTHER_WORDS = {"gpu": "cuda", "nvidia": "cuda", "rocm": "cuda", "amd": "cuda", "metal": "mps", "apple": "mps"}


def find_device(name: str = AUTO, *, must_exist: bool = True) -> torch.device:
    """The device that ``name`` stands for.

    Args:
        name: ``auto`` (this machine's accelerator, else the CPU), or as torch writes it: ``cpu``, ``cuda:1``, ``mps``.
        must_exist: it has to be on this machine; False for plans for another one.

    Raises:
        ValueError: if there is no such device; the message says which there are.
    """
    import torch

    best = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == AUTO:
        return best or torch.device("cpu")
    count = torch.accelerator.device_count() if best else 0
    devices = ["cpu", *map(f"{best}:{{}}".format, range(count))]
    choices = f"here are: {', '.join(devices)}; auto takes the best"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        word = OTHER_WORDS.get(name.lower().partition(":")[0])
        hint = f": torch calls it {word!r}" if word else ""
        raise ValueError(f"there is no device {name!r}{hint}; {choices}") from error
    present = device.type == "cpu" or (best is not None and device.type == best.type and (device.index or 0) < count)
    if must_exist and not present:
        why = "" if best else f" (torch {torch.__version__} finds no GPU: is it a build for yours, with its driver?)"
        raise ValueError(f"there is no device {name!r} on this machine{why}; {choices}")
    return device

"""Reading published weights: strictly, without running code from the file, and saying what is wrong if it is wrong."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

StateDict = dict[str, Tensor]
Device = torch.device | str
Model = TypeVar("Model", bound=nn.Module)
SHOWN = 5
UNREADABLE = (
    safetensors.SafetensorError,
    pickle.UnpicklingError,
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
)


class WrongWeightsError(ValueError):
    """A file that is not the published weights: truncated, or with other keys or shapes."""


def read_state(file: Path, unwrap: str | None = None) -> StateDict:
    """The tensors of a ``.safetensors``, ``.pt``, ``.pth`` or ``.bin`` file, on the CPU.

    Args:
        unwrap: the key behind which the state dict lies in a training checkpoint (``state_dict``, ``model``).

    Raises:
        WrongWeightsError: truncated, not such a file, or a pickle that would run code.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=_can_be_mapped(file))
    except (FileNotFoundError, PermissionError):
        raise
    except UNREADABLE as error:
        raise WrongWeightsError(
            f"{file} ({file.stat().st_size:,} bytes) cannot be read as weights: truncated, or not a weights file "
            f"({_first_line(error)}). Fetch it again"
        ) from error
    if unwrap is not None:
        if not isinstance(state, dict) or unwrap not in state:
            contents = (
                f"the keys {_listed(map(str, state))}" if isinstance(state, dict) else f"a {type(state).__name__}"
            )
            raise WrongWeightsError(f"{file}: expected a checkpoint with the key {unwrap!r}, found {contents}")
        state = state[unwrap]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WrongWeightsError(f"{file}: expected a state dict (names to tensors)")
    return state


def read_folder(folder: Path) -> tuple[StateDict, Path]:
    """The state dict of a transformers folder, and the file it came from."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return read_state(folder / name), folder / name
    raise WrongWeightsError(f"{folder}: expected model.safetensors or pytorch_model.bin, found neither")


def without(state: StateDict, *suffixes: str) -> StateDict:
    """``state`` without the keys that end so: buffers that older versions saved and newer ones compute."""
    remaining = {}
    for key, value in state.items():
        if not key.endswith(suffixes):
            remaining[key] = value
    return remaining


def check_match(expected: StateDict, actual: StateDict, file: Path, config: str | None = None) -> None:
    """Compare keys and shapes.

    Args:
        config: the file that may lie beside the weights and describe another architecture.

    Raises:
        WrongWeightsError: listing what is missing, what is too much, and which shapes differ.
    """
    missing, extra = sorted(expected.keys() - actual.keys()), sorted(actual.keys() - expected.keys())
    shapes = []
    for key in sorted(expected.keys() & actual.keys()):
        if expected[key].shape != actual[key].shape:
            shapes.append(f"{key} {list(actual[key].shape)} instead of {list(expected[key].shape)}")
    wrong = []
    for what, keys in (("missing", missing), ("unexpected", extra), ("of another shape", shapes)):
        if keys:
            wrong.append(f"{len(keys)} {what}: {_listed(keys)}")
    if wrong:
        advice = f". If they are of another architecture, put its {config} beside them" if config else ""
        raise WrongWeightsError(f"{file} does not hold the expected weights. {'; '.join(wrong)}{advice}")


def build_frozen(
    build: Callable[[], Model], state: StateDict, file: Path, device: Device, dtype: torch.dtype = torch.float32
) -> Model:
    """A network with exactly these weights, in evaluation mode, without gradients to its parameters.

    It is laid out without memory first, so that nothing is initialised in vain and a large model exists only once.

    Raises:
        WrongWeightsError: the keys or shapes differ.
    """
    with torch.device("meta"):
        model = build()
    check_match(model.state_dict(), state, file)
    # Copied: a mapped file that is written anew would change the weights of a running reward.
    state = {key: _copied(value, device, dtype) for key, value in state.items()}
    model.load_state_dict(state, assign=True)
    _fill_position_ids(model, device)
    return model.eval().requires_grad_(False)


def _copied(value: Tensor, device: Device, dtype: torch.dtype) -> Tensor:
    return value.to(device, dtype, copy=True, memory_format=torch.contiguous_format)


def _fill_position_ids(model: nn.Module, device: Device) -> None:
    """transformers keeps 0, 1, 2, … in buffers that are not saved, so loading leaves them on the meta device."""
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_meta:
                module._buffers[name] = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)


def at_least_float32(x: Tensor) -> Tensor:
    """Out of a network's half precision; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _can_be_mapped(file: Path) -> bool:
    """Files in the zip format (torch ≥ 1.6) can be memory-mapped; older ones cannot."""
    with file.open("rb") as stream:
        return stream.read(2) == b"PK"


def _listed(items: Iterable[str]) -> str:
    items = list(items)
    more = f", and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__

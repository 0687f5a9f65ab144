"""Encoded prompts, kept in the host's memory for as long as they fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from kedge.lru import Lru
from kedge.policies.base import Conditioning
from kedge.units import MB

if TYPE_CHECKING:
    from torch import Tensor


class PromptCache:
    """Encodes each prompt once, and remembers those used last.

    Prompts are encoded one at a time, so that a result does not depend, in its last bits, on which prompts happened to
    be new in the same batch: a resumed run computes exactly what an uninterrupted one does.

    Args:
        limit: bytes to keep; what was used longest ago is forgotten, and encoded again if it comes back.

    Attributes:
        encoded: how many prompts were encoded so far.
    """

    def __init__(self, limit: int = 1024 * MB):
        self.encoded = 0
        self._conditionings = Lru(limit, measure=_bytes)

    @property
    def size(self) -> int:
        """Bytes kept now."""
        return self._conditionings.size

    def __len__(self) -> int:
        return len(self._conditionings)

    def __call__(
        self, prompts: Sequence[str], encode: Callable[[Sequence[str]], Conditioning], device: torch.device
    ) -> Conditioning:
        """The prompts' encodings, batched, on ``device``."""
        columns: dict[str, list[Tensor]] = {}
        for prompt in prompts:
            cond = self._conditionings.get(prompt, partial(self._encode, prompt, encode))
            for name, tensor in cond.tensors.items():
                columns.setdefault(name, []).append(tensor)
        return Conditioning({name: torch.cat(column) for name, column in columns.items()}).to(device)

    def _encode(self, prompt: str, encode: Callable[[Sequence[str]], Conditioning]) -> Conditioning:
        tensors = encode([prompt]).tensors
        self.encoded += 1
        return Conditioning({name: tensor.cpu() for name, tensor in tensors.items()})


def _bytes(cond: Conditioning) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in cond.tensors.values())

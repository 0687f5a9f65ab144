"""Encoded prompts, kept in the host's memory for as long as they fit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from kedge.policies.base import Conditioning

MEGABYTE = 10**6


@dataclass
class PromptCache:
    """Encodes each prompt once, and remembers those used last.

    Prompts are encoded one at a time, so that a result does not depend, in its last bits, on which prompts happened to
    be new in the same batch: a resumed run computes exactly what an uninterrupted one does.

    Attributes:
        limit: bytes to keep; what was used longest ago is forgotten, and encoded again if it comes back.
        size: bytes kept now.
        encoded: how many prompts were encoded so far.
    """

    limit: int = 1024 * MEGABYTE
    size: int = field(default=0, init=False)
    encoded: int = field(default=0, init=False)
    _kept: OrderedDict[str, Conditioning] = field(default_factory=OrderedDict, init=False)

    def __call__(
        self, prompts: Sequence[str], encode: Callable[[Sequence[str]], Conditioning], device: torch.device
    ) -> Conditioning:
        """The prompts' encodings, batched, on ``device``."""
        parts = [self._one(prompt, encode).tensors for prompt in prompts]
        return Conditioning({name: torch.cat([part[name] for part in parts]).to(device) for name in parts[0]})

    def __len__(self) -> int:
        return len(self._kept)

    def _one(self, prompt: str, encode: Callable[[Sequence[str]], Conditioning]) -> Conditioning:
        found = self._kept.get(prompt)
        if found is not None:
            self._kept.move_to_end(prompt)
            return found
        found = Conditioning({name: tensor.cpu() for name, tensor in encode([prompt]).tensors.items()})
        self.encoded += 1
        self._kept[prompt] = found
        self.size += _bytes(found)
        while self.size > self.limit and len(self._kept) > 1:
            self.size -= _bytes(self._kept.popitem(last=False)[1])
        return found


def _bytes(cond: Conditioning) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in cond.tensors.values())

"""Text features, computed once for each prompt."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

CAPACITY = 16_384


class TextCache:
    """Remembers ``encode(prompt)`` (``[1, D]``) for the most recently used prompts.

    Prompts are encoded one at a time, so that a score does not depend, in its last bits, on which prompts happened to
    be new in the same batch: a resumed run scores exactly as an uninterrupted one.
    """

    def __init__(self, encode: Callable[[str], Tensor], capacity: int = CAPACITY):
        self._encode, self._capacity = encode, capacity
        self._features: OrderedDict[str, Tensor] = OrderedDict()

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """``[B, D]``, without gradient."""
        return torch.cat([self._one(prompt) for prompt in prompts])

    def _one(self, prompt: str) -> Tensor:
        if prompt in self._features:
            self._features.move_to_end(prompt)
        else:
            self._features[prompt] = self._encode(prompt)
            if len(self._features) > self._capacity:
                self._features.popitem(last=False)
        return self._features[prompt]

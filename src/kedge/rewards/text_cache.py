"""Text features, computed once for each prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from kedge.lru import Lru

CAPACITY = 16_384


class TextCache:
    """Remembers ``encode(prompt)`` (``[1, D]``) for the most recently used prompts.

    Prompts are encoded one at a time, so that a score does not depend, in its last bits, on which prompts happened to
    be new in the same batch: a resumed run scores exactly as an uninterrupted one.
    """

    def __init__(self, encode: Callable[[str], Tensor], capacity: int = CAPACITY):
        self._encode = encode
        self._features: Lru[Tensor] = Lru(capacity)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """``[B, D]``, without gradient."""
        features = []
        for prompt in prompts:
            features.append(self._features.get(prompt, partial(self._encode, prompt)))
        return torch.cat(features)

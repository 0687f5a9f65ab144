"""Texts for the networks of rewards: cleaned as OpenAI and open_clip do, and their features computed once."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from kedge.lru import Lru

CAPACITY = 16_384
_PLAIN = re.compile(r"[ -%'-~]*")  # printable ASCII without the ampersand: nothing to mend


def clean_text(text: str) -> str:
    """What open_clip does to a text before tokenising: mend the encoding, undo HTML entities, lower the case.

    transformers leaves it out.

    Raises:
        ModuleNotFoundError: the text is not plain, and ftfy, which mends it, is not installed.
    """
    if not _PLAIN.fullmatch(text):
        try:
            import ftfy
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"CLIP reads texts beyond plain ASCII through ftfy, which is not installed (prompt: {text[:60]!r}). "
                "Install it with: pip install ftfy",
                name="ftfy",
            ) from error
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip().lower()


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

"""What is wrong with a list of prompts, in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

CLIP_LIMIT = 75  # tokens that CLIP's text encoders read, without start and end
# CLIP's tokenizer splits text into these pieces before it splits pieces into tokens: at least one token each.
_PIECE = re.compile(r"'(?:s|t|re|ve|m|ll|d)|[^\W\d_]+|\d|[^\s\w]+|_+", re.IGNORECASE)


@dataclass(frozen=True)
class PromptReport:
    """Findings of :func:`inspect_prompts`.

    Attributes:
        count: prompts looked at.
        empty: how many are blank.
        duplicates: prompts that occur again, with how often they occur.
        over_long: prompts whose end the text encoder cannot read.
    """

    count: int
    empty: int
    duplicates: dict[str, int]
    over_long: tuple[str, ...]

    def lines(self) -> list[str]:
        """One sentence for each kind of problem; none when all is well."""
        sentences = []
        if self.empty:
            sentences.append(f"{self.empty} of {self.count} prompts are empty: left out")
        if self.duplicates:
            worst = max(self.duplicates, key=lambda prompt: self.duplicates[prompt])
            sentences.append(
                f"{len(self.duplicates)} of {self.count} prompts occur more than once (kept, so they count more; "
                f"{_short(worst)} occurs {self.duplicates[worst]} times)"
            )
        if self.over_long:
            sentences.append(
                f"{len(self.over_long)} of {self.count} prompts are longer than the {CLIP_LIMIT} tokens that CLIP "
                f"reads: their ends are ignored (for example {_short(self.over_long[0])})"
            )
        return sentences


def inspect_prompts(prompts: Sequence[str]) -> PromptReport:
    """Look for empty, repeated and over-long prompts.

    The length is a lower bound without the tokenizer: whatever is reported is certainly cut.
    """
    counts = Counter(map(str.strip, prompts))
    empty = counts.pop("", 0)
    duplicates = {}
    over_long = []
    for prompt, count in counts.items():
        if count > 1:
            duplicates[prompt] = count
        if len(_PIECE.findall(prompt)) > CLIP_LIMIT:
            over_long.append(prompt)
    return PromptReport(len(prompts), empty, duplicates, tuple(over_long))


def _short(prompt: str) -> str:
    return repr(prompt if len(prompt) <= 60 else prompt[:57] + "…")

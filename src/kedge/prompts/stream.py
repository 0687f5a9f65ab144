"""An endless order of prompts that can be put down and taken up again."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

from kedge.prompts.sources import PromptError


class PromptStream:
    """Passes through the prompts again and again, each pass in its own order.

    Several processes share one order: process ``rank`` of ``world_size`` takes every ``world_size``-th prompt of it, so
    that together they see each prompt once a pass.

    Args:
        prompts: what to go through.
        seed: of the order; pass n depends on the seed and n alone, so a position is two numbers.
        shuffle: False keeps the given order in each pass.
    """

    def __init__(self, prompts: Sequence[str], seed: int = 0, shuffle: bool = True, rank: int = 0, world_size: int = 1):
        if not prompts:
            raise PromptError("there are no prompts to go through")
        self.prompts, self.seed, self.shuffle = list(prompts), seed, shuffle
        self.rank, self.world_size = rank, world_size
        self._position = 0  # prompts taken so far, by all processes together
        self._pass, self._order = -1, list(range(len(self.prompts)))

    def take(self, n: int) -> list[str]:
        """The next ``n`` prompts."""
        prompts = []
        for _ in range(n):
            prompts.append(self.prompts[self._index(self._position + self.rank)])
            self._position += self.world_size
        return prompts

    def state_dict(self) -> dict[str, Any]:
        """The position, and what it is a position in."""
        digest = hashlib.sha256("\0".join(self.prompts).encode(errors="surrogatepass")).hexdigest()
        return {"position": self._position, "seed": self.seed, "count": len(self.prompts), "prompts": digest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a position.

        Raises:
            PromptError: if it belongs to other prompts or another seed, where it would mean nothing.
        """
        if (state["seed"], state["count"]) != (self.seed, len(self.prompts)):
            raise PromptError(
                f"the checkpoint went through {state['count']} prompts with seed {state['seed']}, this run has "
                f"{len(self.prompts)} with seed {self.seed}: resume with the same prompts, or start a new run"
            )
        if state.get("prompts", self.state_dict()["prompts"]) != self.state_dict()["prompts"]:
            raise PromptError(
                f"the checkpoint went through {state['count']} other prompts than these {len(self.prompts)}: their "
                "text has changed. Resume with the same prompts, or start a new run"
            )
        self._position = state["position"]

    def _index(self, position: int) -> int:
        number, place = divmod(position, len(self.prompts))
        if self.shuffle and number != self._pass:
            self._pass, self._order = number, list(range(len(self.prompts)))
            random.Random(f"{self.seed}/{number}").shuffle(self._order)
        return self._order[place]

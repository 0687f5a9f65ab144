"""Several sizes of pictures in one training: each batch is of one of them, drawn with a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from kedge.algorithms.base import Context, PromptSource
from kedge.algorithms.prompt_cache import PromptCache
from kedge.policies.base import Policy
from kedge.units import MB


class DrawnSizes:
    """A stream of prompts that also draws, with each batch of them, the size that the context's policy draws at.

    Every process draws the same sizes, so none waits for another's larger pictures. The draw of batch n depends on the
    seed and n alone: a position is one number.

    Args:
        prompts: the stream itself.
        policies: the same networks at each size.
        caches: of prompts encoded for each size: SDXL's conditioning holds it.
        context: whose ``policy`` and ``cache`` follow.
        seed: of the draws.
    """

    def __init__(
        self,
        prompts: PromptSource,
        policies: Sequence[Policy],
        caches: Sequence[PromptCache],
        *,
        context: Context,
        seed: int,
    ):
        self.prompts, self.policies, self.caches = prompts, list(policies), list(caches)
        self.context, self.seed = context, seed
        self._batches = 0

    def take(self, n: int) -> list[str]:
        """The next ``n`` prompts, to be drawn at a size of their own."""
        index = random.Random(f"{self.seed}/sizes/{self._batches}").randrange(len(self.policies))
        self._batches += 1
        self.context.policy, self.context.cache = self.policies[index], self.caches[index]
        return self.prompts.take(n)

    def state_dict(self) -> dict[str, Any]:
        """The stream's own state, and how many sizes were drawn."""
        return {**self.prompts.state_dict(), "sizes": self._batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; a checkpoint of a single size starts drawing anew."""
        self._batches = state.get("sizes", 0)
        self.prompts.load_state_dict({key: value for key, value in state.items() if key != "sizes"})


def draw_sizes(context: Context, policies: Sequence[Policy], *, seed: int, cache_mb: int) -> None:
    """Have every batch of ``context`` drawn at one of several sizes.

    Args:
        policies: the same networks at each size; the first is what is evaluated.
        seed: of the draws.
        cache_mb: host memory for encoded prompts of all sizes together.
    """
    caches = [PromptCache(cache_mb * MB // len(policies)) for _ in policies]
    context.first_size = policies[0]
    context.prompts = DrawnSizes(context.prompts, policies, caches, context=context, seed=seed)

"""An exponential moving average of the adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import Parameter


class MovingAverage:
    """Averages parameters over steps, and lends the average to whoever draws or exports.

    Args:
        parameters: what is averaged.
        decay: weight of the past; early steps use (1 + n) / (10 + n) where that is smaller, so that the start is
            forgotten soon.
    """

    def __init__(self, parameters: Sequence[Parameter], decay: float):
        self._parameters, self.decay = list(parameters), decay
        self._average = [p.detach().clone() for p in self._parameters]
        self._updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are now."""
        self._updates += 1
        decay = min(self.decay, (1 + self._updates) / (10 + self._updates))
        for average, parameter in zip(self._average, self._parameters, strict=True):
            average.lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the parameters hold the average."""
        kept = [p.detach().clone() for p in self._parameters]
        copy_into(self._parameters, self._average)
        try:
            yield
        finally:
            copy_into(self._parameters, kept)

    def state_dict(self) -> dict[str, object]:
        """The average and how many updates it has seen."""
        return {"average": self._average, "updates": self._updates}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from a saved average."""
        copy_into(self._average, state["average"])  # type: ignore[arg-type]
        self._updates = int(state["updates"])  # type: ignore[call-overload]


@torch.no_grad()
def copy_into(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy values, keeping each target's device and dtype."""
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)

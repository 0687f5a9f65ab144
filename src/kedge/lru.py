"""A memory of what was used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Lru(Generic[Value]):
    """Values by name; when they no longer fit, those used longest ago are forgotten.

    Args:
        limit: how much to keep, in the unit of ``measure``; the value used last stays however large it is.
        measure: how much one value counts; by default each counts 1.

    Attributes:
        size: how much is kept now.
    """

    def __init__(self, limit: int, measure: Callable[[Value], int] = lambda value: 1):
        self.limit, self.size, self._measure = limit, 0, measure
        self._values: OrderedDict[str, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, name: str, make: Callable[[], Value]) -> Value:
        """The value kept as ``name``, made now if there is none."""
        if name in self._values:
            self._values.move_to_end(name)
            return self._values[name]
        value = self._values[name] = make()
        self.size += self._measure(value)
        while self.size > self.limit and len(self._values) > 1:
            _, oldest = self._values.popitem(last=False)
            self.size -= self._measure(oldest)
        return value

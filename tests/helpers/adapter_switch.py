"""What every toy policy needs of an adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class AdapterSwitch:
    """An adapter that is on, and off inside :meth:`reference`, which nests as real policies' does."""

    _adapted = True

    @contextmanager
    def reference(self) -> Iterator[None]:
        before, self._adapted = self._adapted, False
        try:
            yield
        finally:
            self._adapted = before

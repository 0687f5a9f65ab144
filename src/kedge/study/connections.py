"""Connections to the study's server that take no end: those that ask for nothing are closed, so that others get in."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 10.0  # seconds that a connection may be open without a whole request
RESERVED = 256  # files that the database, the pictures and the server itself may need
FEWEST, MOST = 32, 2000  # connections at once


class PatientProtocol(H11Protocol):
    """HTTP/1.1 with a limit on how long a request may take to arrive, and on how many connections there are."""

    patience: ClassVar[float] = PATIENCE

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Watch it; where there are too many, the one that has been quiet for longest makes room."""
        super().connection_made(transport)
        self._quiet_since, self._answered = time.monotonic(), None
        self._timer = self.loop.call_later(self.patience, self._look)
        if len(self.connections) > most_connections():
            quiet = [each for each in self.connections if isinstance(each, PatientProtocol) and not each.busy]
            if quiet:
                min(quiet, key=lambda each: each._quiet_since).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        self._timer.cancel()
        super().connection_lost(exc)

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _look(self) -> None:
        """Close the connection if it has brought no whole request since the last look."""
        answered: Any = self.cycle
        if not self.busy and answered is self._answered:
            self.transport.close()
            return
        self._answered = None if self.busy else answered
        self._quiet_since = time.monotonic()
        self._timer = self.loop.call_later(self.patience, self._look)


def most_connections() -> int:
    """How many connections leave enough files for everything else."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return MOST
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(FEWEST, min(MOST, limit - RESERVED if limit > 0 else MOST))

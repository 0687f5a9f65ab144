"""JSON over HTTP with a server that is not trusted: it may be slow, busy, broken, or somebody else's.

Plain HTTP from the standard library: nothing to install, nothing unpickled, every failure told apart. One answer has
one deadline, however slowly it drips; its size is limited; a redirect is not followed, so the key goes nowhere else;
what may pass is tried again, as late as the server asks.
"""

from __future__ import annotations

import http.client
import json
import logging
import math
import os
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from kedge.units import MB

log = logging.getLogger(__name__)

PASSING = (408, 409, 425, 429)  # worth another try, besides all of 5xx
TOLD = 4.0  # seconds: a shorter pause is not worth a line
LOCAL = ("localhost", "127.0.0.1", "::1")


class ServerError(RuntimeError):
    """The server did not answer, or refused; the message says what it said and what to do."""


class PassingError(Exception):
    """A failure that may pass: tried again.

    Attributes:
        after: seconds that the server asks to wait; 0 if it does not say.
    """

    def __init__(self, message: str, after: float = 0.0):
        super().__init__(message)
        self.after = after


@dataclass(frozen=True)
class JsonServer:
    """Where to ask, and how patiently.

    Attributes:
        url: what every path is put behind.
        title: what it is, for messages: ``vision server``.
        key_variable: the environment variable that may hold its key.
        timeout: seconds for one whole answer, from the first byte sent to the last byte read.
        attempts: tries in all before giving up.
        pause: seconds before the second try; doubled each time, up to ``longest_pause``.
        longest_wait: seconds that a busy server may ask to wait (``Retry-After``); one that asks for more is given up.
        longest_answer: bytes of an answer; a longer one is refused unread.
    """

    url: str
    title: str = "server"
    key_variable: str | None = None
    timeout: float = 120.0
    attempts: int = 8
    pause: float = 1.0
    longest_pause: float = 30.0
    longest_wait: float = 600.0
    longest_answer: int = 16 * MB

    def ask(self, path: str, body: Any = None, read: Callable[[Any], Any] = lambda reply: reply) -> Any:
        """What ``read`` makes of the JSON at ``path``: of a GET, or of a POST if there is a ``body``.

        Args:
            read: takes the parsed answer; :class:`PassingError` from it is a reason to ask again.

        Raises:
            ServerError: it refused, or all tries failed.
        """
        begin, pause = time.monotonic(), self.pause
        for attempt in range(1, self.attempts + 1):
            try:
                return read(self.call(path, body))
            except PassingError as error:
                if attempt == self.attempts or error.after > self.longest_wait:
                    raise self._given_up(attempt, time.monotonic() - begin, error) from error
                wait = max(pause, error.after)
                if wait >= TOLD:
                    tries = f"try {attempt + 1} of {self.attempts} in {wait:.0f} s"
                    log.warning(f"the {self.title} at {self.url} failed ({error}): {tries}")
                time.sleep(wait)
            pause = min(2 * pause, self.longest_pause)
        raise AssertionError("attempts must be 1 or more")

    def call(self, path: str, body: Any = None) -> Any:
        """One try.

        Raises:
            PassingError: a failure that may pass.
            ServerError: one that will not.
        """
        request = urllib.request.Request(self.url + path, data=None if body is None else json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        if self.key_variable and (key := os.environ.get(self.key_variable)):
            request.add_header("Authorization", f"Bearer {key}")
        with self._deadline() as sockets:
            try:
                with self._opener(sockets).open(request, timeout=self.timeout) as response:
                    return self._parsed(response.read(self.longest_answer + 1), path)
            except urllib.error.HTTPError as error:
                raise self._refusal(path, error) from error
            except (OSError, http.client.HTTPException) as error:
                raise PassingError(f"{getattr(error, 'reason', None) or error or type(error).__name__}") from error

    def _parsed(self, data: bytes, path: str) -> Any:
        if len(data) > self.longest_answer:
            raise ServerError(
                f"the {self.title} at {self.url} answers {path} with more than {self.longest_answer / MB:.0f} MB, "
                "which no answer needs: is this the right address?"
            )
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise PassingError(f"its answer is not JSON ({error})") from error

    def _refusal(self, path: str, error: urllib.error.HTTPError) -> Exception:
        """What an answer other than 200 means."""
        said = f"HTTP {error.code}: {_beginning(error)}"
        if error.code in PASSING or error.code >= 500:
            return PassingError(said, _seconds(error.headers.get("Retry-After")))
        if target := error.headers.get("Location"):
            said = f"HTTP {error.code}: it redirects to {target}, which is not followed: give the address itself"
        elif error.code in (401, 403) and self.key_variable:
            said += f" (its key is read from {self.key_variable})"
        return ServerError(f"the {self.title} at {self.url} refused {path}: {said}")

    def _given_up(self, attempt: int, seconds: float, error: PassingError) -> ServerError:
        times = "once" if attempt == 1 else f"{attempt} times in {seconds:.0f} s"
        asks = ""
        if error.after > self.longest_wait:
            asks = f", and it asks to wait {error.after:.0f} s (at most {self.longest_wait:.0f} s are waited)"
        return ServerError(
            f"the {self.title} at {self.url} failed {times}{asks}; at last: {error}. "
            "Start it again, then resume the run: what was saved is safe"
        )

    @contextmanager
    def _deadline(self) -> Iterator[list[socket.socket]]:
        """Inside, connections are cut when the time is over: a time-out of sockets is one for each byte."""
        sockets: list[socket.socket] = []
        late = threading.Event()

        def cut() -> None:
            late.set()
            for each in sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self.timeout, cut)
        timer.daemon = True
        timer.start()
        try:
            yield sockets
        except PassingError as error:
            if late.is_set():
                raise PassingError(f"timed out: no whole answer in {self.timeout:g} s") from error
            raise
        finally:
            timer.cancel()

    def _opener(self, sockets: list[socket.socket]) -> urllib.request.OpenerDirector:
        """A server on this machine is asked directly, whatever proxy the machine uses for the world outside."""
        local = urllib.parse.urlsplit(self.url).hostname in LOCAL
        handlers = [_PlainHandler(sockets), _SecureHandler(sockets), _NoRedirect()]
        return urllib.request.build_opener(*handlers, *([urllib.request.ProxyHandler({})] if local else []))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Nowhere: the answer stays an error."""


class _PlainHandler(urllib.request.HTTPHandler):
    """Notes its sockets, so that they can be cut."""

    def __init__(self, sockets: list[socket.socket]):
        super().__init__()
        self.connection = _noted(http.client.HTTPConnection, sockets)

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self.connection, req)


class _SecureHandler(urllib.request.HTTPSHandler):
    """As :class:`_PlainHandler`."""

    def __init__(self, sockets: list[socket.socket]):
        super().__init__()
        self.connection = _noted(http.client.HTTPSConnection, sockets)

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self.connection, req)


def _noted(kind: type[http.client.HTTPConnection], sockets: list[socket.socket]) -> Any:
    """A kind of connection that appends its socket when it connects."""

    class Noted(kind):  # type: ignore[valid-type, misc]
        def connect(self) -> None:
            super().connect()
            sockets.append(self.sock)

    return Noted


def _beginning(error: urllib.error.HTTPError) -> str:
    """Of what a refusal says; empty where the connection breaks off meanwhile, for its status is known all the same."""
    with suppress(OSError, http.client.HTTPException):
        return error.read(500).decode(errors="replace").strip()
    return ""


def _seconds(value: str | None) -> float:
    """``Retry-After`` in seconds, from a number or a date; 0 for none and for nonsense."""
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0

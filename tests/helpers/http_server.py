"""One server that really speaks HTTP and answers by a script, well or badly."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]
Requests = list[Any]


@contextmanager
def http_server(answer: Answer) -> Iterator[str]:
    """Whatever ``answer`` writes, to GET and POST alike, several at once; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(OSError):  # the client has left
                answer(self)

        do_POST = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: Any, **headers: str) -> None:
    """Bytes as they are, anything else as JSON; a header's ``_`` stands for a hyphen."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def body_of(handler: BaseHTTPRequestHandler) -> Any:
    """The JSON that was sent."""
    return json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))


@contextmanager
def scripted(*replies: tuple[int, Any]) -> Iterator[tuple[str, Requests]]:
    """Answers ``(status, body)`` in turn, the last one for ever; yields its address and the requests.

    A body that is a function is what it makes of the request.
    """
    requests: Requests = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        requests.append(body_of(handler))
        status, body = replies[min(len(requests), len(replies)) - 1]
        reply(handler, status, body(requests[-1]) if callable(body) else body)

    with http_server(answer) as address:
        yield f"{address}/score", requests

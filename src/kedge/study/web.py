"""The small part of HTTP that the study needs: limited bodies, plain errors, and headers that keep pages private."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kedge.study.store import Store
from kedge.study.voting import Refused

log = logging.getLogger(__name__)

LONGEST_BODY = 4096
SLOWEST_BODY = 20.0  # seconds
PAGES = Path(__file__).parent / "page"

# Nothing but the study's own files runs or is shown, no other site may frame it or learn a link from a Referer, and
# no search engine keeps it.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Robots-Tag": "noindex, nofollow",
}


class PrivateHeaders:
    """ASGI middleware: adds :data:`HEADERS` to every answer, and ``no-store`` where nothing else is said."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass through."""

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                for name, value in HEADERS.items():
                    message["headers"].append((name.lower().encode(), value.encode()))
                if b"cache-control" not in present:
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        await self.app(scope, receive, add if scope["type"] == "http" else send)


class PlainFailures:
    """ASGI middleware: what goes wrong here (a full disk, a locked database) is 503, and one line for the owner.

    Pages try again by themselves. A traceback for each request would fill another disk.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass through."""
        begun = False

        async def note(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, note)
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            log.error("the study could not answer: %s: %s", type(error).__name__, error)
            failure = JSONResponse({"error": "the study cannot answer now: try again"}, status_code=503)
            await failure(scope, receive, send)


def whole_number(text: str) -> int | None:
    """A number in an address, if it is one that a database can hold."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


async def read_json(request: Request) -> Any:
    """The body as JSON.

    Raises:
        Refused: 415 if it does not say that it is JSON, 413 if it is too long, 400 if it is not JSON, 408 if it does
            not come to an end.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "send application/json")
    body = b""
    try:
        async with asyncio.timeout(SLOWEST_BODY):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LONGEST_BODY:
                    raise Refused(413, f"at most {LONGEST_BODY} bytes")
        return json.loads(body)
    except TimeoutError as error:
        raise Refused(408, f"the body took longer than {SLOWEST_BODY} s") from error
    except ClientDisconnect as error:
        raise Refused(400, "the request ended early") from error
    except (ValueError, RecursionError) as error:
        raise Refused(400, "not JSON") from error


def refusal(error: Refused, **more: Any) -> JSONResponse:
    """A refusal as JSON."""
    return JSONResponse({"error": str(error), **more}, status_code=error.status)


def not_found(request: Request | None = None, _: Any = None) -> Response:
    """The same answer for everything that is not there, so that it tells nothing; to a browser's window, a page."""
    if request is not None and "text/html" in request.headers.get("accept", ""):
        return FileResponse(PAGES / "lost.html", status_code=404, headers={"Cache-Control": "no-store"})
    return JSONResponse({"error": "nothing here"}, status_code=404)


def refused(request: Request, error: Refused) -> Response:
    """A refusal as JSON; what is not there as :func:`not_found` says it."""
    return not_found(request) if error.status == 404 else refusal(error)


def picture(store: Store, name: str) -> Response:
    """A picture of the study, without the name, the date or the tag that a file server would give away.

    A database from elsewhere may name any file: what does not lie in the folder of pictures is not there.
    """
    file = (store.pictures / name).resolve()
    if file.parent != store.pictures.resolve() or not file.is_file():
        return not_found()
    headers = {"Cache-Control": "private, max-age=86400, immutable"}
    return Response(file.read_bytes(), media_type="image/png", headers=headers)

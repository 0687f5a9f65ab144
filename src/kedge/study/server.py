"""The study's web server: a page for each rater and one for the owner, behind links that nobody can guess.

    /r/TOKEN/            the rater's page;  state, vote, undo, picture/POSITION/SIDE below it
    /o/TOKEN/            the owner's page;  progress, raters, open, picture/…, export/… below it
    /page/NAME           script and style

No address holds a path, a model's name or a picture's name: a rater asks for "the left picture of my seventh pair".
Short reads happen at once, since SQLite's write-ahead log never makes them wait; what waits for a disk has a thread.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, Router

from kedge.study import owner, voting
from kedge.study.store import Store
from kedge.study.voting import Refused
from kedge.study.web import (
    PAGES,
    PlainFailures,
    PrivateHeaders,
    not_found,
    picture,
    read_json,
    refusal,
    refused,
    whole_number,
)
from kedge.study.writer import Writer

ASSETS = {"rater.js": "text/javascript", "owner.js": "text/javascript", "style.css": "text/css"}


def make_app(store: Store) -> Starlette:
    """The ASGI application of one study."""
    write = Writer(store)
    rater, boss = _RaterPages(store, write), owner.OwnerPages(store, write)
    routes = [
        Route("/", _front),
        Route("/page/{name}", _asset),
        Route("/r/{token}", _with_slash),
        _below(
            "/r/{token}",
            [
                Route("/", rater.page),
                Route("/state", rater.state),
                Route("/vote", rater.vote, methods=["POST"]),
                Route("/undo", rater.undo, methods=["POST"]),
                Route("/picture/{position}/{side}", rater.picture),
            ],
        ),
        Route("/o/{token}", _with_slash),
        _below("/o/{token}", boss.routes()),
    ]
    handlers: dict[Any, Any] = {404: not_found, Refused: refused}
    middleware = [Middleware(PrivateHeaders), Middleware(PlainFailures)]
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
    app.router.redirect_slashes = False  # it would lead to whatever host a request names
    return app


def _below(path: str, routes: list[Route]) -> Mount:
    return Mount(path, app=Router(routes, redirect_slashes=False))


async def _with_slash(request: Request) -> Response:
    """To the page below the same address, by a path alone: neither host nor scheme are the request's to choose."""
    return Response(status_code=307, headers={"Location": f"./{quote(request.path_params['token'], safe='')}/"})


async def _front(request: Request) -> Response:
    return PlainTextResponse("A study runs here. Open the link that you were given.\n")


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in ASSETS:
        return not_found()
    return FileResponse(PAGES / name, media_type=ASSETS[name], headers={"Cache-Control": "no-cache"})


class _RaterPages:
    """What is behind a rater's link; without the right token all of it is 404."""

    def __init__(self, store: Store, write: Writer):
        self.store, self.write = store, write

    async def page(self, request: Request) -> Response:
        """The page itself is the same for everybody; it asks for the state."""
        self._rater(request)
        return FileResponse(PAGES / "rater.html", headers={"Cache-Control": "no-store"})

    async def state(self, request: Request) -> Response:
        """Where the rater is."""
        rater = self._rater(request)
        return JSONResponse(voting.state(self.store, rater))

    async def vote(self, request: Request) -> Response:
        """Take an answer; what comes back is the state after it."""
        rater = self._rater(request)
        answer = voting.read_answer(await read_json(request))
        return await self._changed(rater, lambda: voting.vote(self.store, rater, answer))

    async def undo(self, request: Request) -> Response:
        """Take an answer back."""
        rater = self._rater(request)
        data = await read_json(request)
        last = voting.read_answer({**data, "choice": "tie"} if isinstance(data, dict) else data)
        return await self._changed(
            rater, lambda: voting.undo(self.store, rater, last.position, last.question, last.undone)
        )

    async def picture(self, request: Request) -> Response:
        """One of the two pictures of a pair that the rater may see."""
        rater = self._rater(request)
        position = whole_number(request.path_params["position"])
        if position is None:
            return not_found()
        name = voting.picture_file(self.store, rater, position, request.path_params["side"])
        return not_found() if name is None else await run_in_threadpool(picture, self.store, name)

    def _rater(self, request: Request) -> int:
        rater = self.store.rater(request.path_params["token"])
        if rater is None:
            raise Refused(404, "nothing here")
        return rater

    async def _changed(self, rater: int, change: Callable[[], None]) -> Response:
        """The state after a change; a refusal carries it too, so that the page can go on from there."""
        try:
            await self.write(change)
        except Refused as error:
            return refusal(error, state=voting.state(self.store, rater))
        return JSONResponse(voting.state(self.store, rater))


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, so that links are printed only where somebody answers.

    Raises:
        ValueError: the port is taken, or the machine has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            text = f"port {port} of {host} is taken by another program: give another --port"
        else:
            reason = str(error.strerror or error).partition(" (while")[0]
            text = f"cannot listen to {host}, port {port}: {reason}"
        raise ValueError(text) from error


def serve(store: Store, listening: socket.socket) -> None:
    """Run until interrupted. Addresses are secrets, so they are not logged."""
    import uvicorn

    from kedge.study.connections import PatientProtocol

    app = make_app(store)
    config = uvicorn.Config(app, http=PatientProtocol, log_level="error", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listening])

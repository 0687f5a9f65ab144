"""The page's web server, for this machine; behind a token nobody can guess where others may reach it.

    /            the page; state, grid/RUN/NAME, draw/RUN below it; all behind /TOKEN/ where there is one
    /page/NAME   script and style

It only reads, and draws on request. Requests that name another host are refused, so that no web page in the same
browser can read along (DNS rebinding).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from kedge.live.runs import grid_path, state_or_trouble
from kedge.study.web import PrivateHeaders, not_found

PAGES = Path(__file__).parent / "page"
ASSETS = {"live.js": "text/javascript", "live.css": "text/css"}
LONGEST_PROMPT = 500
STRENGTHS = (-1.0, 2.0)

# Run, prompt, seed, adapter strength → a picture.
Draw = Callable[[int, str, int, float], Image.Image]


def make_app(
    runs: Sequence[Path], names: Sequence[str], draw: Draw, token: str = "", hosts: Sequence[str] = ("*",)
) -> Starlette:
    """The ASGI application.

    Args:
        runs, names: folders, and what they are called.
        draw: a picture by a run's model; may raise ValueError or OSError, which the page shows.
        token: the first part of every path; empty on one's own machine.
        hosts: what a request may call this machine.
    """
    pages = _Pages(tuple(runs), tuple(names), draw)
    routes = [
        Route("/", pages.page),
        Route("/state", pages.state),
        Route("/grid/{run:int}/{name}", pages.grid),
        Route("/draw/{run:int}", pages.draw),
        Route("/page/{name}", pages.asset),
    ]
    middleware = [Middleware(PrivateHeaders), Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))]
    handlers = {404: not_found}
    mounted = [Mount(f"/{token}", routes=routes)] if token else routes
    return Starlette(routes=mounted, middleware=middleware, exception_handlers=handlers)


class _Pages:
    def __init__(self, runs: tuple[Path, ...], names: tuple[str, ...], draw: Draw):
        self._runs, self._names, self._draw = runs, names, draw

    async def page(self, request: Request) -> Response:
        """The same for all runs; it asks for the state."""
        return FileResponse(PAGES / "live.html", headers={"Cache-Control": "no-store"})

    async def asset(self, request: Request) -> Response:
        """Script and style."""
        name = request.path_params["name"]
        if name not in ASSETS:
            return not_found()
        return FileResponse(PAGES / name, media_type=ASSETS[name], headers={"Cache-Control": "no-cache"})

    async def state(self, request: Request) -> Response:
        """Of all runs."""
        return JSONResponse({"runs": await run_in_threadpool(self._states)})

    async def grid(self, request: Request) -> Response:
        """A sample grid."""
        run = self._run(request)
        path = None if run is None else grid_path(run, request.path_params["name"])
        return not_found() if path is None else FileResponse(path, media_type="image/png")

    async def draw(self, request: Request) -> Response:
        """A picture by a run's model, with its adapter as strong as asked for."""
        if self._run(request) is None:
            return not_found()
        query = request.query_params
        try:
            seed, strength = int(query.get("seed", "0")), float(query.get("strength", "1"))
        except ValueError:
            return JSONResponse({"error": "seed is a whole number, strength a number"}, status_code=400)
        prompt = query.get("prompt", "").strip()
        allowed = 0 < len(prompt) <= LONGEST_PROMPT and STRENGTHS[0] <= strength <= STRENGTHS[1] and 0 <= seed < 2**63
        if not allowed:
            return JSONResponse({"error": f"a prompt of at most {LONGEST_PROMPT} letters is needed"}, status_code=400)
        try:
            image = await run_in_threadpool(self._draw, request.path_params["run"], prompt, seed, strength)
        except (ValueError, OSError) as error:
            return JSONResponse({"error": str(error)}, status_code=409)
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        return Response(buffer.getvalue(), media_type="image/png")

    def _states(self) -> list[dict[str, object]]:
        return [state_or_trouble(run, name) for run, name in zip(self._runs, self._names, strict=True)]

    def _run(self, request: Request) -> Path | None:
        number: int = request.path_params["run"]
        return self._runs[number] if number < len(self._runs) else None

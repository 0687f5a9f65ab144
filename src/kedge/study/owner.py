"""The owner's page: progress of every rater and pair, stop and go on, new raters, exports."""

from __future__ import annotations

import statistics
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from kedge.study import export
from kedge.study.store import Store
from kedge.study.voting import Refused
from kedge.study.web import PAGES, not_found, picture, read_json, whole_number
from kedge.study.writer import Writer

LONGEST_NAME = 80
MOST_RATERS = 10_000


class OwnerPages:
    """What is behind the owner's link; without the right token all of it is 404."""

    def __init__(self, store: Store, write: Writer):
        self.store, self.write = store, write

    def routes(self) -> list[Route]:
        """To be mounted under the token."""
        return [
            Route("/", self.page),
            Route("/progress", self.progress),
            Route("/open", self.open, methods=["POST"]),
            Route("/raters", self.raters, methods=["POST"]),
            Route("/picture/{pair}/{side}", self.picture),
            Route("/export/{name}", self.export),
        ]

    async def page(self, request: Request) -> Response:
        """The page itself; it asks for the progress."""
        self._check(request)
        return FileResponse(PAGES / "owner.html", headers={"Cache-Control": "no-store"})

    async def progress(self, request: Request) -> Response:
        """Everything that the page shows."""
        self._check(request)
        return JSONResponse(await run_in_threadpool(progress, self.store))

    async def open(self, request: Request) -> Response:
        """``{"open": false}`` stops the study, ``true`` goes on with it."""
        self._check(request)
        data = await read_json(request)
        if not isinstance(data, dict) or type(data.get("open")) is not bool:
            raise Refused(400, "expected {open: true or false}")
        await self.write(lambda: self.store.set_open(data["open"]))
        return JSONResponse(await run_in_threadpool(progress, self.store))

    async def raters(self, request: Request) -> Response:
        """``{"name": "…"}`` admits one more rater."""
        self._check(request)
        data = await read_json(request)
        name = data.get("name", "") if isinstance(data, dict) else None
        if not isinstance(name, str) or len(name) > LONGEST_NAME or not name.isprintable():
            raise Refused(400, f"a name has at most {LONGEST_NAME} printable characters")
        if len(self.store.links()) >= MOST_RATERS:
            raise Refused(409, f"a study has at most {MOST_RATERS} raters")
        await self.write(lambda: self._admit(name))
        return JSONResponse(await run_in_threadpool(progress, self.store))

    async def picture(self, request: Request) -> Response:
        """A picture of a pair: its ``first`` or its ``second``."""
        self._check(request)
        pair, side = whole_number(request.path_params["pair"]), request.path_params["side"]
        if side not in ("first", "second") or pair is None:
            return not_found()
        query = f"SELECT {side}_file FROM pair WHERE id = ?"
        row = self.store.db.execute(query, (pair,)).fetchone()
        return not_found() if row is None else await run_in_threadpool(picture, self.store, row[0])

    async def export(self, request: Request) -> Response:
        """The votes as a file."""
        self._check(request)
        name = request.path_params["name"]
        if name not in export.TEXTS:
            return not_found()
        try:
            text = await run_in_threadpool(export.TEXTS[name], self.store)
        except ValueError as error:
            raise Refused(409, str(error)) from error
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(text, media_type="text/csv" if name.endswith(".csv") else "text/plain", headers=headers)

    def _admit(self, name: str) -> None:
        self.store.add_rater(name)

    def _check(self, request: Request) -> None:
        if not self.store.is_owner(request.path_params["token"]):
            raise Refused(404, "nothing here")


def progress(store: Store) -> dict[str, Any]:
    """Live numbers. How the votes fall is not among them: whoever watches that stops when it pleases them."""
    facts, db = store.facts(), store.db
    questions = len(facts.questions)
    raters = db.execute(
        "SELECT r.id, r.name, r.token, count(DISTINCT s.id) AS total, count(v.id) AS votes, max(v.at) AS last "
        "FROM rater r LEFT JOIN showing s ON s.rater = r.id LEFT JOIN vote v ON v.showing = s.id GROUP BY r.id"
    ).fetchall()
    times: dict[int, list[int]] = {}
    for row in db.execute("SELECT s.rater, v.milliseconds FROM vote v JOIN showing s ON s.id = v.showing"):
        if row["milliseconds"] is not None:
            times.setdefault(row["rater"], []).append(row["milliseconds"])
    pairs = db.execute(
        "SELECT p.id, p.prompt, count(DISTINCT s.id) AS wanted, count(v.id) AS votes FROM pair p "
        "LEFT JOIN showing s ON s.pair = p.id AND NOT s.repeat LEFT JOIN vote v ON v.showing = s.id GROUP BY p.id"
    ).fetchall()
    by_rater, votes, wanted = [], 0, 0
    for row in raters:
        seconds = statistics.median(times[row["id"]]) / 1000 if row["id"] in times else None
        link, done = f"r/{row['token']}/", row["votes"] / questions
        by_rater.append(
            {"name": row["name"], "link": link, "done": done, "total": row["total"], "last": row["last"],
             "seconds": seconds}
        )  # fmt: skip
        votes += row["votes"]
        wanted += row["total"] * questions
    by_pair = []
    for row in pairs:
        shown = row["votes"] / questions
        by_pair.append({"id": row["id"], "prompt": row["prompt"], "votes": shown, "wanted": row["wanted"]})
    questioned = [question.title for question in facts.questions]
    models = db.execute("SELECT name FROM model ORDER BY id")
    return {
        "title": facts.title,
        "open": store.is_open(),
        "questions": questioned,
        "models": [row["name"] for row in models],
        "twins": facts.kind == "twins",
        "raters": by_rater,
        "pairs": by_pair,
        "votes": votes,
        "wanted": wanted,
    }

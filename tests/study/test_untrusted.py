"""A study's server and files in the hands of strangers: nothing foretold, nothing brought back, nothing held open."""

from __future__ import annotations

import asyncio
import resource
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from kedge.study import simulate as simulation
from kedge.study.connections import FEWEST, MOST, RESERVED, most_connections
from kedge.study.design import Design, assign
from kedge.study.export import votes_csv
from kedge.study.store import DATABASE, open_study
from kedge.study.voting import Answer, Refused, state, undo, vote
from kedge.study.web import PlainFailures, PrivateHeaders

http = httpx2.Client()


def sides(store) -> list[bool]:
    return [bool(row[0]) for row in store.db.execute("SELECT swapped FROM showing ORDER BY rater, position")]


def test_sides_cannot_be_foretold_from_what_is_public(make_study) -> None:
    one, other = (make_study(pairs=24, raters=8, name=name, checks=0.1, secret=None) for name in ("one", "other"))
    assert sides(one) != sides(other)  # the same design and seed
    shown = [(0, 0)] * 24
    foretold = [each.swapped for each in assign(Design(24, checks=0.1), 0, [(0, 1)] * 24, shown)]
    assert foretold != sides(one)[: len(foretold)] or foretold != sides(other)[: len(foretold)]
    facts = one.facts()
    again = assign(facts.design, 0, [(0, 1)] * 24, shown, facts.secret)
    assert [each.swapped for each in again] == sides(one)[: len(again)]  # what is stored decides it


def test_a_late_copy_of_a_vote_does_not_bring_back_what_was_undone(make_study) -> None:
    store = make_study()
    first = Answer(0, 0, "left", 10, undone=state(store, 1)["undone"])
    vote(store, 1, first)
    undo(store, 1, 0, 0, undone=0)
    with pytest.raises(Refused, match="taken back since") as refused:
        vote(store, 1, first)
    assert refused.value.status == 409
    vote(store, 1, Answer(0, 0, "right", 10, undone=state(store, 1)["undone"]))
    with pytest.raises(Refused, match="taken back since"):
        undo(store, 1, 0, 0, undone=0)  # a late copy of the undo
    assert [row["choice"] for row in store.db.execute("SELECT choice FROM vote")] == ["right"]


def test_only_its_owner_may_read_the_database(make_study) -> None:
    path = make_study().folder / DATABASE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_prompts_that_look_like_formulas_are_no_formulas_in_spreadsheets(make_study, folders, monkeypatch) -> None:
    store = make_study(pairs=1)
    store.db.execute("UPDATE pair SET prompt = '=HYPERLINK(1)'")
    vote(store, 1, Answer(0, 0, "left", 10))
    assert ",'=HYPERLINK(1)," in votes_csv(store)


@pytest.mark.parametrize("damage", ["DROP TABLE vote", "DELETE FROM study WHERE key = 'questions'"])
def test_a_study_with_parts_missing_is_named(make_study, damage) -> None:
    store = make_study()
    store.db.execute("PRAGMA foreign_keys = OFF")
    store.db.execute(damage)
    store.close()
    with pytest.raises(ValueError, match=r"study\.sqlite cannot be read as a study"):
        open_study(store.folder)


def test_a_full_disk_is_told_as_it_is(make_study) -> None:
    store = make_study()

    def fill() -> None:
        with store.writing() as db:
            db.execute("ROLLBACK")  # as SQLite does by itself then
            raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        fill()


@pytest.fixture
def server(make_study, serve):
    return serve(make_study())


def test_numbers_without_an_end_are_not_found(server) -> None:
    for link in (server.raters[0], server.owner):
        for number in ("9" * 4301, "-1", "1e3", "٣", "0x1"):
            answer = http.get(f"{link}picture/{number}/left")
            assert answer.status_code == 404
            assert answer.headers["x-frame-options"] == "DENY"


def test_a_redirect_names_no_host(server) -> None:
    link = server.raters[0].removesuffix("/")
    answer = http.get(link, headers={"Host": "evil.example"})
    assert answer.status_code == 307
    assert answer.headers["location"] == f"./{link.rpartition('/')[2]}/"
    assert http.get(link, follow_redirects=True).status_code == 200
    assert http.get(f"{server.raters[0]}state/", headers={"Host": "evil.example"}).status_code == 404


def test_what_fails_inside_is_503_and_one_line(caplog) -> None:
    async def failing(scope, receive, send) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    sent = []

    async def send(message) -> None:
        sent.append(message)

    asyncio.run(PrivateHeaders(PlainFailures(failing))({"type": "http"}, None, send))
    assert sent[0]["status"] == 503
    assert (b"x-frame-options", b"DENY") in sent[0]["headers"]
    assert [record.message for record in caplog.records] == [
        "the study could not answer: OperationalError: database or disk is full"
    ]


def test_limits_leave_files_for_everything_else() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert most_connections() == max(FEWEST, min(MOST, limit - RESERVED))


SERVE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (320, 320))
from kedge.study.connections import PatientProtocol
PatientProtocol.patience = 2.0
from kedge.study.server import listen, serve
from kedge.study.store import open_study
listening = listen("127.0.0.1", 0)
print(listening.getsockname()[1], flush=True)
serve(open_study(sys.argv[1]), listening)
"""


def test_half_requests_are_closed_and_do_not_keep_raters_out(make_study, tmp_path: Path) -> None:
    store = make_study()
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen([sys.executable, "-c", SERVE, store.folder], stdout=subprocess.PIPE, stderr=errors)
    assert process.stdout is not None
    port = int(process.stdout.readline())
    slow = []
    try:
        for _ in range(150):  # more than there may be: 320 - 256
            each = socket.create_connection(("127.0.0.1", port), timeout=5)
            each.sendall(b"GET /r/x HTTP/1.1\r\nHost: x\r\n")
            slow.append(each)
        token = store.links()[0][1]
        assert httpx2.get(f"http://127.0.0.1:{port}/r/{token}/state", timeout=5).status_code == 200
        deadline = time.monotonic() + 10
        slow[-1].settimeout(10)
        assert slow[-1].recv(100) == b""  # closed for want of a whole request
        assert time.monotonic() < deadline
        assert (tmp_path / "errors").read_text() == ""
    finally:
        for each in slow:
            each.close()
        process.kill()
        process.wait()


@pytest.mark.parametrize("link", ["http://127.0.0.1:9/r/x/", "no link", "ftp://x/", ""])
def test_simulated_raters_without_a_study_end_in_one_line(link) -> None:
    with pytest.raises(ValueError, match="no study answers at"):
        simulation.simulate([link], lambda *_: (0.0, 0.0), simulation.Habits())

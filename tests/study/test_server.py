"""The server over a real socket: what raters get, what they cannot get, and what nonsense does to it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.live_server import LiveServer
from kedge.study.create import create_study
from kedge.study.design import Design
from kedge.study.questions import parse_questions
from kedge.study.records import read_records
from kedge.study.server import listen
from kedge.study.sources import FolderSource
from kedge.study.store import Store
from kedge.study.web import picture
from kedge.workflows.serve_reward import serve_reward

http = httpx2.Client()  # one for all: making one reads all certificates
FORGED = '<img src=x onerror="document.title=1"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def running(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, LiveServer]]:
    sources = [FolderSource(folders["clean"]), FolderSource(folders["ruined"])]
    prompts = list(sources[0].by_prompt)
    for source in sources:  # a prompt made of HTML, and one with everything
        source.by_prompt |= {FORGED: source.by_prompt[prompts[0]], "ü\u2028'\"\\": source.by_prompt[prompts[1]]}
    folder = tmp_path_factory.mktemp("served") / "study"
    texts = [FORGED, *prompts[:6], "ü\u2028'\"\\"]
    store = create_study(folder, sources, texts, parse_questions("preference,appeal"), Design(8))
    for name in ("Ada", FORGED, "Grace", "Alan", "Edsger"):
        store.add_rater(name)
    server = LiveServer(folder)
    yield store, server
    server.stop()


def post(link: str, path: str, data: object) -> httpx2.Response:
    return http.post(link + path, json=data)


def due(link: str) -> dict:
    now = http.get(link + "state").json()
    return {"position": now["position"], "question": now["question"], "choice": "left", "milliseconds": 10}


def test_a_rater_votes_and_gets_the_next_state(running) -> None:
    store, server = running
    link = server.raters[0]
    answer = post(link, "vote", due(link))
    assert answer.status_code == 200
    assert answer.json()["question"] == 1
    assert post(link, "undo", {"position": 0, "question": 0}).json()["question"] == 0
    assert [r for r in read_records(store) if r.rater == "r1"] == []


def test_a_repeated_forged_or_early_vote_is_refused_with_the_true_state(running) -> None:
    _, server = running
    link = server.raters[2]
    first = due(link)
    assert post(link, "vote", first).status_code == 200
    for wrong in (first, {**first, "position": 5}, {**first, "question": 5}):
        refused = post(link, "vote", wrong)
        assert refused.status_code == 409
        assert (refused.json()["state"]["position"], refused.json()["state"]["question"]) == (0, 1)


def test_votes_and_undos_for_another_rater_or_out_of_turn_change_nothing(running) -> None:
    """A body that names another rater is read as the link's own rater; an undo of anything but the last is refused."""
    store, server = running
    link, before = server.raters[4], len(read_records(store))
    forged = {"position": 3, "question": 0, "choice": "left", "rater": 1, "showing": 1, "winner": "first", "at": 0}
    assert post(link, "vote", forged).status_code == 409
    for wrong in ({"position": 0, "question": 0}, {"position": 7, "question": 1}):
        assert post(link, "undo", wrong).status_code == 409
    assert len(read_records(store)) == before
    assert post(link, "vote", {**forged, "position": 0}).status_code == 200
    assert read_records(store)[-1].rater == "r5"
    assert post(link, "undo", {"position": 0, "question": 0, "rater": 1}).status_code == 200
    assert len(read_records(store)) == before


def test_a_state_holds_nothing_about_models_sides_or_others(running) -> None:
    store, server = running
    text = http.get(server.raters[0] + "state").text
    keys = {"title", "questions", "open", "position", "question", "total", "prompt", "undone"}
    assert set(json.loads(text)) == keys
    secrets = [name for name, _ in store.links()] + [token for _, token in store.links()]
    secrets += ["clean", "ruined", store.facts().owner, store.facts().secret]
    secrets += [file.stem for file in store.pictures.iterdir()]
    assert not [secret for secret in secrets if secret in text and secret != FORGED]


def test_pictures_come_without_anything_that_tells_them_apart(running) -> None:
    _, server = running
    answers = [http.get(f"{server.raters[0]}picture/0/{side}") for side in ("left", "right")]
    headers = [{k: v for k, v in a.headers.items() if k not in ("date", "content-length")} for a in answers]
    assert headers[0] == headers[1]
    assert not {"etag", "last-modified", "content-disposition", "server"} & set(headers[0])
    assert headers[0]["cache-control"].startswith("private")
    assert answers[0].content != answers[1].content


def test_sides_are_not_those_of_another_rater(running) -> None:
    """Two raters see the same pair at different places or the other way round; nobody can align their lists."""
    store, _ = running
    rows = store.db.execute("SELECT rater, pair, swapped FROM showing WHERE rater IN (1, 2) ORDER BY pair").fetchall()
    sides = [{row["pair"]: row["swapped"] for row in rows if row["rater"] == rater} for rater in (1, 2)]
    assert all(sides[0][pair] != sides[1][pair] for pair in sides[0])


@pytest.mark.parametrize(
    "path",
    [
        "picture/5/left",
        "picture/0/first",
        "picture/0/..%2f..%2fstudy.sqlite",
        "picture/-1/left",
        "picture/9999999999999/left",
        "picture/0/left%00",
        "../study.sqlite",
        "%2e%2e/%2e%2e/study.sqlite",
        "study.sqlite",
        "export/votes.csv",
        "progress",
    ],
)
def test_nothing_else_is_behind_a_raters_link(running, path) -> None:
    _, server = running
    assert http.get(server.raters[3] + path, follow_redirects=True).status_code == 404


@pytest.mark.parametrize("name", ["../study.sqlite", "/etc/passwd", "link.png", "gone.png", "", ".", "..", "a/../../x"])
def test_a_database_from_elsewhere_can_name_no_file_outside_the_pictures(make_study, name) -> None:
    """Also what a link points to is outside, and what is gone is an answer and no crash."""
    store = make_study(pairs=2)
    (store.pictures / "link.png").symlink_to(store.folder / "study.sqlite")
    assert picture(store, name).status_code == 404
    assert picture(store, next(store.pictures.glob("?" * 32 + ".png")).name).status_code == 200


def test_a_rater_gets_exactly_their_own_pictures(running) -> None:
    """Side by side, byte for byte: what the plan says, and each rater has another plan."""
    store, server = running
    query = (
        "SELECT p.first_file, p.second_file, s.swapped FROM showing s JOIN pair p ON p.id = s.pair "
        "WHERE s.rater = ? ORDER BY s.position"
    )
    plans = []
    for rater, link in enumerate(server.raters[:2], start=1):
        plan = []
        for row in store.db.execute(query, (rater,)).fetchall():
            files = [row["first_file"], row["second_file"]]
            plan.append(files[::-1] if row["swapped"] else files)
        contents = [http.get(f"{link}picture/0/{side}").content for side in ("left", "right")]
        assert contents == [(store.pictures / file).read_bytes() for file in plan[0]]
        plans.append(plan)
    assert plans[0] != plans[1]  # order and sides are drawn for each: one pair alone may well be equal


def test_a_taken_port_or_an_address_that_is_not_ours_is_one_clear_message() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ValueError, match=rf"port {port} of 127.0.0.1 is taken.*--port"):
            listen("127.0.0.1", port)
    with pytest.raises(ValueError, match=r"cannot listen to 192\.0\.2\.1, port 8765: [^(]+$"):
        listen("192.0.2.1", 8765)


def test_a_reward_server_names_its_precision_and_port_before_it_loads_anything() -> None:
    with pytest.raises(ValueError, match=r"'bfloat'.*Did you mean 'bfloat16'"):
        serve_reward("no-such-reward", host="127.0.0.1", port=0, dtype="bfloat")
    with listen("127.0.0.1", 0) as first, pytest.raises(ValueError, match=r"is taken by another program.*--port"):
        serve_reward("no-such-reward", host="127.0.0.1", port=first.getsockname()[1])


@pytest.mark.parametrize("path", ["", "state", "picture/0/left", "progress", "export/votes.csv", "picture/1/first"])
@pytest.mark.parametrize("kind", ["r", "o"])
def test_a_wrong_token_is_404_and_says_nothing(running, kind, path) -> None:
    store, server = running
    rater = store.links()[0][1]
    for token in ("x", "", rater[:-1], rater + "A", rater.swapcase(), "%00", "ü", "%F0%28", "a" * 5000):
        if kind == "o" or token != rater:
            answer = http.get(f"{server.url}/{kind}/{token}/{path}", follow_redirects=True)
            assert answer.status_code in (404, 414, 431, 400), (token, answer.status_code)
            assert "study" not in answer.text.lower() or answer.status_code != 200


def test_a_raters_token_does_not_open_the_owners_page_nor_the_reverse(running) -> None:
    store, server = running
    token = store.links()[0][1]
    assert http.get(f"{server.url}/o/{token}/progress").status_code == 404
    assert http.get(f"{server.url}/r/{store.facts().owner}/state").status_code == 404
    assert http.post(f"{server.url}/o/{token}/open", json={"open": False}).status_code == 404


def test_links_are_unguessable(running) -> None:
    store, _ = running
    tokens = [token for _, token in store.links()] + [store.facts().owner]
    assert len(set(tokens)) == len(tokens)
    assert all(len(token) >= 22 for token in tokens)  # 128 bits in base 64


def test_it_listens_to_this_machine_only(running) -> None:
    _, server = running
    listening = [c.laddr for c in psutil.Process(server.process.pid).net_connections("inet") if c.status == "LISTEN"]
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_pages_load_nothing_from_elsewhere_and_cannot_be_framed(running) -> None:
    _, server = running
    for address in (server.raters[0], server.owner, server.url + "/page/rater.js", server.url + "/nothing"):
        answer = http.get(address)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "http://" not in answer.text.replace("plain http", "")
        assert "https://" not in answer.text


def test_bodies_are_limited_and_must_be_json(running) -> None:
    _, server = running
    link = server.raters[3] + "vote"
    assert (
        http.post(link, content=b"{" + b" " * 5000 + b"}", headers={"content-type": "application/json"}).status_code
        == 413
    )
    assert http.post(link, content=b"{}").status_code == 415
    assert http.post(link, data={"choice": "left"}).status_code == 415
    for body in (b"", b"{", b"\xff\xfe", b"[" * 4000, b'{"position": NaN}', b'"\\ud800"', b"1e999"):
        assert http.post(link, content=body, headers={"content-type": "application/json"}).status_code == 400
    assert http.get(link).status_code == 405
    assert http.put(link, json={}).status_code == 405


def test_the_owner_sees_progress_stops_goes_on_and_admits(running) -> None:
    _, server = running
    seen = http.get(server.owner + "progress").json()
    assert seen["models"] == ["clean", "ruined"]
    assert len(seen["pairs"]) == 8
    assert FORGED in [rater["name"] for rater in seen["raters"]]
    assert "winner" not in json.dumps(seen)
    link = server.raters[4]
    assert post(server.owner, "open", {"open": False}).json()["open"] is False
    refused = post(link, "vote", due(link))
    assert refused.status_code == 403
    assert refused.json()["state"]["open"] is False
    assert post(server.owner, "open", {"open": True}).json()["open"] is True
    assert post(link, "vote", due(link)).status_code == 200
    assert len(post(server.owner, "raters", {"name": "Late"}).json()["raters"]) == 6
    for wrong in ({"name": "a" * 81}, {"name": 3}, {"name": "a\nb"}, {"name": "\ud800"}, []):
        content = json.dumps(wrong).encode()
        answer = http.post(server.owner + "raters", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 400
    assert post(server.owner, "open", {"open": 1}).status_code == 400


def test_the_owner_gets_the_votes_as_files(running) -> None:
    _, server = running
    answer = http.get(server.owner + "export/votes.csv")
    assert answer.text.startswith("vote,rater,")
    assert "votes.csv" in answer.headers["content-disposition"]
    assert http.get(server.owner + "export/pickapic.csv").status_code == 200
    refused = http.get(server.owner + "export/d3po.jsonl")
    assert refused.status_code == 409
    assert "itself" in refused.json()["error"]
    assert http.get(server.owner + "export/..%2fstudy.sqlite").status_code == 404


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["left", "right", "tie"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["position", "question", "choice", "milliseconds", "open", "name"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=JSON,
    path=st.sampled_from(["vote", "undo", "open", "raters"]),
    raw=st.binary(max_size=60),
    as_raw=st.booleans(),
)
def test_fuzzed_bodies_never_break_it(running, data, path, raw, as_raw) -> None:
    _, server = running
    link = server.raters[1] if path in ("vote", "undo") else server.owner
    content = raw if as_raw else json.dumps(data).encode()
    answer = http.post(link + path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code < 500
    if path == "open" and answer.status_code == 200:
        http.post(server.owner + "open", json={"open": True})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "TRACE", "NONSENSE", ""]),
    start=st.sampled_from(
        ["", "/", "/r/", "/page/", "{rater}", "{rater}picture/", "{owner}picture/", "{owner}export/"]
    ),
    rest=st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=30),
    head=st.binary(max_size=40),
)
def test_fuzzed_requests_never_break_it(running, method, start, rest, head) -> None:
    _, server = running
    links = {"rater": server.raters[1].removeprefix(server.url), "owner": server.owner.removeprefix(server.url)}
    target = (start.format(**links) + rest).encode("latin-1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as wire:
        wire.sendall(
            method.encode() + b" " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + head + b"\r\n\r\n"
        )
        wire.shutdown(socket.SHUT_WR)
        status = wire.recv(64).split(b" ")
    assert len(status) < 2 or not status[1].startswith(b"5"), status


def test_it_still_answers_after_all_that(running) -> None:
    _, server = running
    assert http.get(server.raters[0] + "state").status_code == 200

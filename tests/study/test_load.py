"""Fifty raters at once, and a server that is killed in the middle: no vote lost, none doubled."""

from __future__ import annotations

import asyncio
import random
import time

import httpx2
import numpy as np

from helpers.live_server import LiveServer
from kedge.study.records import read_records

RATERS, PAIRS = 50, 3
Acknowledged = dict[tuple[str, int, int], str]


async def rate(client: httpx2.AsyncClient, name: str, link: str, taken: Acknowledged, times: list[float]) -> None:
    """Votes like a page on a bad line: every answer is sent twice at once; ends when all is done or nobody answers."""
    rng = random.Random(name)
    now = (await client.get(link + "state")).json()
    while now["position"] < now["total"]:
        for side in ("left", "right"):
            assert (await client.get(f"{link}picture/{now['position']}/{side}")).status_code == 200
        vote = {
            "position": now["position"],
            "question": now["question"],
            "choice": rng.choice(["left", "right", "tie"]),
        }
        began = time.perf_counter()
        answers = await asyncio.gather(
            *(client.post(link + "vote", json=vote) for _ in range(2)), return_exceptions=True
        )
        times.append(time.perf_counter() - began)
        statuses = [answer.status_code for answer in answers if isinstance(answer, httpx2.Response)]
        if 200 in statuses:
            taken[name, vote["position"], vote["question"]] = vote["choice"]
        if len(statuses) < 2:
            return  # the server is gone
        assert sorted(statuses) == [200, 409]
        now = next(answer for answer in answers if answer.status_code == 200).json()


async def everybody(server: LiveServer, taken: Acknowledged, times: list[float], until: int | None = None) -> None:
    """All raters at once; the server is killed as soon as ``until`` votes are acknowledged."""
    limits = httpx2.Limits(max_connections=2 * RATERS)
    async with httpx2.AsyncClient(timeout=60, limits=limits) as client:
        work = [
            asyncio.create_task(rate(client, f"r{i}", link, taken, times))
            for i, link in enumerate(server.raters, start=1)
        ]
        while until is not None and len(taken) < until:
            await asyncio.sleep(0.001)
        if until is not None:
            server.kill()
        for result in await asyncio.gather(*work, return_exceptions=True):
            assert result is None or (until is not None and isinstance(result, httpx2.TransportError)), result


def stored(store) -> Acknowledged:
    keys = [question.key for question in store.facts().questions]
    records = read_records(store)
    votes = {(r.rater, r.position, keys.index(r.question)): r.choice for r in records}
    assert len(votes) == len(records), "a vote is doubled"
    return votes


def test_fifty_raters_at_once(make_study, serve) -> None:
    store = make_study(pairs=PAIRS, raters=RATERS)
    taken: Acknowledged = {}
    times: list[float] = []
    asyncio.run(everybody(serve(store), taken, times))
    assert stored(store) == taken
    assert len(taken) == RATERS * PAIRS
    p50, p95 = np.quantile(times, [0.5, 0.95])
    print(f"\n{RATERS} raters at once, every vote sent twice: p50 {1000 * p50:.0f} ms, p95 {1000 * p95:.0f} ms")
    assert p95 < 5  # seconds: on a busy machine, still not what a person would call broken


def test_killed_in_the_middle_every_acknowledged_vote_is_there(make_study, serve) -> None:
    store = make_study(pairs=PAIRS, raters=RATERS // 2)
    taken: Acknowledged = {}
    asyncio.run(everybody(serve(store), taken, [], until=40))
    after = stored(store)
    assert 40 <= len(taken) <= len(after) < PAIRS * RATERS // 2
    assert {key: after[key] for key in taken} == taken

    asyncio.run(everybody(serve(store), taken, []))
    finished = stored(store)
    assert len(finished) == PAIRS * RATERS // 2
    assert {key: finished[key] for key in after} == after

"""A client beside servers that are slow, huge, busy, mischievous or broken."""

from __future__ import annotations

import json
import socket
import struct
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from helpers.http_server import http_server, reply
from kedge.cli.run import explain
from kedge.rewards.json_server import JsonServer, ServerError, _seconds
from kedge.rewards.vision_server import VisionServer, _answer

QUICK = JsonServer("", "reward server", "KEDGE_TEST_KEY", timeout=5.0, attempts=3, pause=0.001)


@pytest.mark.parametrize("where", ["headers", "body"])
def test_one_answer_has_one_deadline_however_it_drips(where):
    def drip(handler):
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n" + (b"" if where == "headers" else b"\r\n"))
        for _ in range(200):
            handler.wfile.write(b"X: y\r\n" if where == "headers" else b" ")
            handler.wfile.flush()
            time.sleep(0.05)

    begin = time.monotonic()
    with (
        http_server(drip) as url,
        pytest.raises(ServerError, match=r"failed once.*timed out: no whole answer in 0\.4 s"),
    ):
        replace(QUICK, url=url, timeout=0.4, attempts=1).ask("/")
    assert time.monotonic() - begin < 4


def test_a_body_that_is_too_long_is_not_read():
    sent = []

    def flood(handler):
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        for _ in range(1000):
            sent.append(handler.wfile.write(b" " * 100_000))

    with http_server(flood) as url, pytest.raises(ServerError, match=r"more than 1 MB.*right address"):
        replace(QUICK, url=url, longest_answer=1_000_000).ask("/")
    assert sum(sent) < 50_000_000


def test_a_redirect_is_not_followed_and_gets_no_key(monkeypatch):
    monkeypatch.setenv("KEDGE_TEST_KEY", "secret")
    seen = []
    with (
        http_server(lambda handler: (seen.append(dict(handler.headers)), reply(handler, 200, b"1"))) as elsewhere,
        http_server(lambda handler: reply(handler, 302, b"", Location=elsewhere)) as url,
        pytest.raises(ServerError, match=f"redirects to {elsewhere}, which is not followed"),
    ):
        replace(QUICK, url=url).ask("/")
    assert seen == []


def test_a_busy_server_is_asked_again_when_it_says():
    calls = []

    def busy(handler):
        calls.append(time.monotonic())
        if len(calls) == 1:
            reply(handler, 429, b"busy", Retry_After="1")
        else:
            reply(handler, 200, b"[7]")

    with http_server(busy) as url:
        assert replace(QUICK, url=url).ask("/") == [7]
    assert calls[1] - calls[0] >= 1


@pytest.mark.parametrize("how", ["reset", "incomplete"])
def test_a_refusal_that_breaks_off_is_tried_again_too(how):
    calls = []

    def break_off(handler):
        handler.connection.sendall(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbu")
        if how == "reset":
            time.sleep(0.1)  # the client has read the status
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()

    def once(handler):
        calls.append(1)
        if len(calls) == 1:
            break_off(handler)
        else:
            reply(handler, 200, b"[7]")

    with http_server(once) as url:
        assert replace(QUICK, url=url).ask("/") == [7]
    assert len(calls) == 2


def test_a_server_that_asks_for_too_long_a_wait_is_given_up_at_once():
    says = "failed once, and it asks to wait 86400 s"
    refuse = http_server(lambda handler: reply(handler, 503, b"", Retry_After="86400"))
    with refuse as url, pytest.raises(ServerError, match=says):
        replace(QUICK, url=url).ask("/")


def test_retry_after_as_number_date_and_nonsense():
    later = datetime.now(UTC) + timedelta(seconds=90)
    assert _seconds("3") == 3
    assert 80 < _seconds(format_datetime(later, usegmt=True)) <= 90
    assert [_seconds(value) for value in (None, "", "-5", "nan", "inf", "soon")] == [0] * 6


@pytest.mark.parametrize("body", [b"[" * 100_000, b"\xff\xfe", b"", b"{]"])
def test_what_is_not_json_is_one_line(body):
    with http_server(lambda handler: reply(handler, 200, body)) as url, pytest.raises(ServerError) as error:
        replace(QUICK, url=url).ask("/")
    assert "its answer is not JSON" in str(error.value)
    assert explain(error.value) == (1, str(error.value))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("body", ['{"data": 3}', "null", '{"data": [[]]}', '"x"'])
def test_a_list_of_models_that_is_none(body):
    says = "its list of models holds none"
    with http_server(lambda handler: reply(handler, 200, body.encode())) as url, pytest.raises(ServerError, match=says):
        VisionServer(replace(QUICK, url=url, attempts=1)).only_model()


def test_a_refused_key_says_where_it_comes_from():
    with http_server(lambda handler: reply(handler, 401, b"who?")) as url, pytest.raises(ServerError, match="TEST_KEY"):
        replace(QUICK, url=url).ask("/")


def test_half_a_surrogate_pair_becomes_readable_text():
    text = _answer(json.loads('{"choices": [{"message": {"content": "a \\ud83e fox"}}]}'))
    assert text == "a ? fox"

"""Alignment against a server that really speaks HTTP, well or badly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import torch
from PIL import Image

from helpers.http_server import body_of, http_server, reply
from helpers.tiny_rewards import pictures, write_bert, write_captioner
from kedge.rewards import load_reward, sources
from kedge.rewards.alignment import Alignment
from kedge.rewards.bertscore import BertScore
from kedge.rewards.json_server import ServerError
from kedge.rewards.vision_server import KEY_VARIABLE, VisionServer
from kedge.worlds.emoji.captioner import CaptionServer, read_picture

QUICK = {"pause": 0.001, "attempts": 3, "timeout": 1.0}
PICTURE = Image.new("RGB", (8, 8), (255, 0, 0))
Reply = tuple[int, Any]


def answer(text: str | None) -> Reply:
    return 200, {"choices": [{"message": {"role": "assistant", "content": text}}]}


@contextmanager
def server(replies: Callable[[int, dict, BaseHTTPRequestHandler], Reply], models=("llava",)):
    """``replies(call number, request, handler)`` on a free port; yields the address and the requests it got."""
    requests: list[dict] = []
    lock = threading.Lock()

    def vision(handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "GET":
            reply(handler, 200, {"data": [{"id": name} for name in models]})
            return
        request = body_of(handler)
        with lock:
            requests.append(request)
            number = len(requests)
        status, body = replies(number, request, handler)
        if status:
            reply(handler, status, body)

    with http_server(vision) as address:
        yield f"{address}/v1", requests


def client(url: str, **settings: Any) -> VisionServer:
    vision = VisionServer.parse(url)
    return replace(vision, server=replace(vision.server, **{**QUICK, **settings}))


def test_asks_the_papers_question_with_the_picture():
    with server(lambda *_: answer(" a fox \n")) as (url, got):
        assert client(url).ask(PICTURE, "what is this?") == "a fox"
    (request,) = got
    assert request["model"] == "llava"
    assert request["temperature"] == 0
    image, text = request["messages"][0]["content"]
    assert text == {"type": "text", "text": "what is this?"}
    assert image["type"] == "image_url"
    red = read_picture(request)[0].mean((1, 2))
    torch.testing.assert_close(red, torch.tensor([1.0, 0.0, 0.0]), atol=0.02, rtol=0)


def test_model_can_be_named_and_must_be_where_there_are_several():
    with server(lambda *_: answer("x"), models=("one", "two")) as (url, got):
        with pytest.raises(ServerError, match=r"offers one, two: name one, as in http.*#MODEL"):
            client(url).ask(PICTURE, "?")
        client(f"{url}#two").ask(PICTURE, "?")
    assert got[0]["model"] == "two"


@pytest.mark.parametrize("trouble", [(503, {"error": "busy"}), (429, {}), (200, b"<html>"), (200, {"choices": []})])
def test_passing_trouble_is_tried_again(trouble):
    with server(lambda number, *_: trouble if number < 3 else answer("a cat")) as (url, got):
        assert client(url).ask(PICTURE, "?") == "a cat"
    assert len(got) == 3


def test_lasting_trouble_is_told_with_what_to_do():
    says = r"failed 3 times in \d+ s; at last: HTTP 500: .*out of memory.*resume"
    with server(lambda *_: (500, {"error": "out of memory"})) as (url, got), pytest.raises(ServerError, match=says):
        client(url).ask(PICTURE, "?")
    assert len(got) == 3


def test_refusal_is_not_tried_again():
    says = r"refused /chat/completions: HTTP 400: .*no such model"
    with server(lambda *_: (400, {"error": "no such model"})) as (url, got), pytest.raises(ServerError, match=says):
        client(url).ask(PICTURE, "?")
    assert len(got) == 1


def test_silence_ends_by_the_clock():
    wait = threading.Event()
    with server(lambda *_: (wait.wait(5), (0, None))[1]) as (url, _):
        with pytest.raises(ServerError, match=r"failed 2 times.*timed out"):
            client(f"{url}#m", timeout=0.1, attempts=2).ask(PICTURE, "?")
        wait.set()


def test_server_that_is_not_there():
    with server(lambda *_: answer("x")) as (url, _):
        pass
    with pytest.raises(ServerError, match=r"127\.0\.0\.1.*refused.*Start it again"):
        client(url).ask(PICTURE, "?")


def test_key_is_sent_if_there_is_one(monkeypatch):
    seen = []

    def says(number, request, handler):
        seen.append(handler.headers["Authorization"])
        return answer("x")

    monkeypatch.setenv(KEY_VARIABLE, "abc")
    with server(says) as (url, _):
        client(url).ask(PICTURE, "?")
    assert seen == ["Bearer abc"]


def test_local_server_is_asked_past_the_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with server(lambda *_: answer("x")) as (url, _):
        assert client(url).ask(PICTURE, "?") == "x"


def test_score_is_the_recall_of_the_answer(tmp_path):
    def says(number, request, handler):
        shade = read_picture(request).mean()
        return answer("The image contains a cat" if shade > 0.5 else None)

    images = torch.stack([torch.ones(3, 16, 16), torch.zeros(3, 16, 16)]).requires_grad_()
    with server(says) as (url, got):
        reward = Alignment(write_bert(tmp_path), server=client(url))
        scores = reward(images, ["a cat", "a cat"])
    torch.testing.assert_close(scores, torch.tensor([1.0, 0.0]), atol=1e-5, rtol=0)
    assert not scores.requires_grad
    assert "what is going on in this image?" in got[0]["messages"][0]["content"][1]["text"]


def test_server_that_dies_in_mid_run(tmp_path):
    with server(lambda *_: answer("a cat")) as (url, _):
        reward = Alignment(write_bert(tmp_path), server=client(f"{url}#m"))
        reward(pictures(2, 16, 16), ["a cat", "a dog"])
    with pytest.raises(ServerError, match="what was saved is safe"):
        reward(pictures(2, 16, 16), ["a cat", "a dog"])


def test_many_pictures_are_asked_at_once_and_stay_in_order(tmp_path):
    barrier = threading.Barrier(4, timeout=5)

    def says(number, request, handler):
        barrier.wait()
        return answer(f"level {round(read_picture(request).mean().item() * 255)}")

    levels = torch.tensor([10, 80, 150, 220.0])
    images = (levels / 255)[:, None, None, None].expand(4, 3, 16, 16)
    with server(says) as (url, _):
        captions = Alignment(write_bert(tmp_path), server=client(f"{url}#m", attempts=1)).captions(images)
    assert captions == ["level 10", "level 80", "level 150", "level 220"]


def test_needs_a_server(monkeypatch, tmp_path):
    write_bert(tmp_path / "bert")
    monkeypatch.setattr(sources, "find_published", lambda part: tmp_path / "bert")
    with pytest.raises(ValueError, match=r"alignment@http://HOST:PORT/v1 .*vllm serve"):
        load_reward("alignment")


def test_the_worlds_captioner_answers_over_http(tmp_path, monkeypatch):
    from kedge.rewards import alignment

    for module in (sources, alignment):
        monkeypatch.setattr(module, "world_assets", lambda: tmp_path)
    write_bert(tmp_path / "bert")
    with pytest.raises(FileNotFoundError, match="kedge world build"):
        load_reward("alignment@emoji")
    write_captioner(tmp_path / "captioner")
    reward = load_reward("alignment@emoji")
    scores = reward(pictures(2, 40, 40), ["a cat", "a dog"])
    assert scores.shape == (2,)
    assert all(reward.captions(pictures(2, 40, 40)))


def test_caption_server_refuses_what_it_cannot_read(tmp_path):
    local = CaptionServer(write_captioner(tmp_path))
    try:
        with pytest.raises(ServerError, match="HTTP 404"):
            client(local.url).server.call("/other")
        message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://elsewhere/x.png"}}]}
        with pytest.raises(ServerError, match=r"HTTP 400: .*data: URL"):
            client(local.url).server.call("/chat/completions", {"messages": [message]})
    finally:
        local.close()


def test_bertscore_laws(tmp_path):
    score = BertScore(write_bert(tmp_path))
    texts = ["a fox riding a bike", "two dogs in the snow", "the cat"]
    torch.testing.assert_close(score.recall(texts, texts), torch.ones(3), atol=1e-5, rtol=0)
    assert (score.recall(texts, texts[::-1])[:1] < 0.999).all()
    assert score.recall(["", "  "], texts[:2]).tolist() == [0.0, 0.0]
    long = "a cat " * 100
    assert score.recall([long], [long]).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("source", ["localhost:8000", "ftp://x/v1"])
def test_address_must_be_one(source):
    with pytest.raises(ValueError, match="http://HOST:PORT/v1"):
        VisionServer.parse(source)

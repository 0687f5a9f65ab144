"""A reward behind an address: the same numbers, from another process, or a clear word about what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.http_server import scripted
from helpers.live_reward import reward_process, serving_reward
from helpers.tiny_rewards import pictures
from kedge.pixels import to_uint8
from kedge.rewards import describe, load_reward, parse
from kedge.rewards.json_server import ServerError
from kedge.rewards.remote import KEY_VARIABLE, RemoteReward, as_png, from_png
from kedge.workflows.serve_reward import serve_reward

PROMPTS = ["a cat", "zwei Hunde ☃", "", "a fox", "a cow"]


def test_another_process_scores_as_this_one(monkeypatch):
    images = to_uint8(pictures(5, 32, 32)).permute(0, 3, 1, 2) / 255
    with reward_process("0.5*pickscore@emoji + incompressibility", **{KEY_VARIABLE: "secret"}) as address:
        with pytest.raises(ServerError, match=rf"401.*{KEY_VARIABLE}"):
            load_reward(address)(images, PROMPTS)
        monkeypatch.setenv(KEY_VARIABLE, "secret")
        remote = load_reward(f'remote(batch=2)@"{address}"')(images, PROMPTS)
    with torch.no_grad():
        local = load_reward("0.5*pickscore@emoji + incompressibility")(images, PROMPTS)
    torch.testing.assert_close(remote, local, rtol=1e-5, atol=1e-5)


def test_an_address_is_a_reward():
    (term,) = parse("http://host:8770/score")
    assert (term.name, term.source) == ("remote", "http://host:8770/score")
    assert parse("0.5*https://host/a + z(pickscore)")[0].source == "https://host/a"
    assert not describe("http://host:8770/score").differentiable
    with pytest.raises(ValueError, match="source itself"):
        parse("http://host/score@x")


def test_pictures_are_sent_without_loss():
    pixels = to_uint8(pictures(1, 20, 30))[0]
    assert torch.equal(from_png(as_png(pixels.numpy())), pixels.permute(2, 0, 1) / 255)


def lengths(request):
    return {"scores": [len(prompt) for prompt in request["prompts"]]}


def test_batches_and_order():
    with scripted((200, lengths)) as (address, requests):
        scores = RemoteReward(address, batch=2)(torch.rand(5, 3, 8, 8), PROMPTS)
    assert scores.tolist() == [len(prompt) for prompt in PROMPTS]
    assert [len(request["images"]) for request in requests] == [2, 2, 1]


def test_what_may_pass_is_tried_again():
    with scripted((503, {}), (200, {"oops": 1}), (200, {"scores": [1.5]})) as (address, requests):
        reward = RemoteReward(address)
        reward.server = replace(reward.server, pause=0.001)
        assert reward(torch.rand(1, 3, 8, 8), ["a"]).tolist() == [1.5]
    assert len(requests) == 3


def test_a_long_silence_is_told_of(monkeypatch, caplog):
    pauses = []
    monkeypatch.setattr("kedge.rewards.json_server.time.sleep", pauses.append)
    with scripted((503, {}), (503, {}), (503, {"error": "loading"}), (200, {"scores": [1.5]})) as (address, _):
        assert RemoteReward(address)(torch.rand(1, 3, 8, 8), ["a"]).tolist() == [1.5]
    assert pauses == [1, 2, 4]
    assert caplog.messages == [
        f'the reward server at {address} failed (HTTP 503: {{"error": "loading"}}): try 4 of 8 in 4 s'
    ]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ({"scores": [1, 2]}, "2 scores for 1 pictures: it must return one number for each"),
        ({"scores": ["much"]}, "1 of them no numbers"),
        ({"scores": [True]}, "1 of them no numbers"),
        ({"scores": [float("nan")]}, "not finite"),
        ({"scores": [10**400]}, "not finite"),
    ],
)
def test_what_is_no_score_is_refused_at_once(reply, message):
    with scripted((200, reply)) as (address, requests), pytest.raises(ServerError, match=message):
        RemoteReward(address)(torch.rand(1, 3, 8, 8), ["a"])
    assert len(requests) == 1


def test_settings_that_cannot_be_are_refused():
    for settings in ({"batch": 0}, {"timeout": 0}, {"attempts": 0}):
        with pytest.raises(ValueError, match="must be 1 or more"):
            RemoteReward("http://x/score", **settings)
    for timeout in (1e12, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="timeout above 0 and at most 86400 seconds"):
            RemoteReward("http://x/score", timeout=timeout)
    with pytest.raises(ValueError, match="kedge serve-reward"):
        load_reward("remote")


def test_a_reward_behind_a_silent_server_is_not_served(capsys):
    with scripted((200, {"scores": [1.0]})) as (address, _):
        pass  # nobody answers there any more
    with pytest.raises(ServerError, match=r"reward server at .* failed"):
        serve_reward(f'remote(attempts=1)@"{address}"', host="127.0.0.1", port=0)
    assert "Ctrl-C" not in capsys.readouterr().out


def raw(address, body):
    from kedge.rewards.json_server import JsonServer

    return JsonServer(address, "reward server", attempts=1).ask("", body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "expected"),
        ({"images": [], "prompts": []}, "neither empty"),
        ({"images": ["x"], "prompts": ["a", "b"]}, "1 images for 2 prompts"),
        ({"images": ["x"], "prompts": [3]}, "expected"),
        ({"images": ["x"], "prompts": ["a"]}, "422.*not a picture"),
        ({"images": ["aGVsbG8="], "prompts": ["a"]}, "422.*not a picture"),
    ],
)
def test_the_server_says_what_is_wrong_with_a_request(body, message):
    with serving_reward(load_reward("incompressibility")) as address, pytest.raises(ServerError, match=message):
        raw(address, body)


def test_pictures_of_several_sizes_may_come_together():
    sizes = [(8, 8), (20, 30)]
    images = [pictures(1, *size)[0] for size in sizes]
    sent = [as_png(to_uint8(image[None])[0].numpy()) for image in images]
    with serving_reward(load_reward("incompressibility")) as address:
        scores = raw(address, {"images": sent, "prompts": ["a", "b"]})["scores"]
    single = [load_reward("incompressibility")(image[None], ["a"]).item() for image in images]
    assert scores == pytest.approx(single)

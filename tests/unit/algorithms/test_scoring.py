"""Scores while the next pictures are sampled: when it is done, that it changes nothing, and what fails with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.http_server import body_of, http_server, reply
from helpers.pretrained_toy import FunctionReward, TinyLCM, brightness, context
from helpers.training_world import Paint, recipe
from kedge.algorithms.experience import explore
from kedge.algorithms.scoring import Scoring
from kedge.config import parse_config
from kedge.rewards import load_reward
from kedge.rewards.remote import from_png
from kedge.training.run import train

PATIENCE = 60.0  # seconds; only a test that fails waits for so long


class Events:
    """What happened, in order, in whichever thread; threads can wait for each other's."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self._changed = threading.Condition()

    def note(self, event: str) -> None:
        with self._changed:
            self.log.append(event)
            self._changed.notify_all()

    def wait(self, event: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: event in self.log, PATIENCE)


def noting(events: Events, decode: Callable[..., Tensor], *, meet: bool) -> Callable[..., Tensor]:
    """``decode``, which ends a chunk's sampling, noting it; to ``meet``, once the one before is at the server."""
    count = 0

    def decoded(*arguments: Any) -> Tensor:
        nonlocal count
        if meet and count:
            events.wait(f"score {count} begins")
        count += 1
        events.note(f"sampled {count}")
        return decode(*arguments)

    return decoded


@contextmanager
def waiting_server(events: Events, chunks: int) -> Iterator[str]:
    """Scores brightness; answers for a chunk once the next one is sampled, unless it is the last."""
    count = 0

    def answer(handler: Any) -> None:
        nonlocal count
        request = body_of(handler)
        count += 1
        number = count
        events.note(f"score {number} begins")
        if number < chunks:
            events.wait(f"sampled {number + 1}")
        events.note(f"score {number} ends")
        images = torch.stack([from_png(picture) for picture in request["images"]])
        reply(handler, 200, {"scores": brightness(images, request["prompts"]).tolist()})

    with http_server(answer) as address:
        yield f"{address}/score"


SIDE_BY_SIDE = (
    *("sampled 1", "score 1 begins", "sampled 2", "score 1 ends"),
    *("score 2 begins", "sampled 3", "score 2 ends", "score 3 begins", "score 3 ends"),
)


def test_a_server_scores_one_chunk_while_the_next_is_sampled() -> None:
    policy, events = TinyLCM(), Events()
    policy.decode = noting(events, policy.decode, meet=True)  # type: ignore[method-assign]
    with waiting_server(events, chunks=3) as address:
        ctx = context(policy)
        ctx.reward = load_reward(address)
        explore(ctx, 6, 2)
    assert events.log == list(SIDE_BY_SIDE)


@pytest.mark.parametrize("reward", ["{address}", "0.5*{address} + incompressibility"])
def test_it_does_in_a_whole_training(reward: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = Events()
    monkeypatch.setattr(Paint, "decode", noting(events, Paint.decode, meet=True))
    algorithm = {"name": "rlcm", "sample_batch_size": 2, "minibatches": 3}
    with waiting_server(events, chunks=3) as address:
        data = recipe(reward=reward.format(address=address), algorithm=algorithm, training__steps=3)
        assert train(parse_config(data), tmp_path).step == 3
    assert events.log == list(SIDE_BY_SIDE)


def test_a_reward_with_a_gradient_is_waited_for() -> None:
    policy, events = TinyLCM(), Events()
    policy.decode = noting(events, policy.decode, meet=False)  # type: ignore[method-assign]

    def scored(images: Tensor, prompts: list[str]) -> Tensor:
        number = events.log[-1].split()[1]
        events.note(f"score {number} begins")
        events.note(f"score {number} ends")
        return brightness(images, prompts)

    ctx = context(policy, scored)
    ctx.reward.differentiable = True
    explore(ctx, 4, 2)
    both = [[f"sampled {i}", f"score {i} begins", f"score {i} ends"] for i in (1, 2)]
    assert events.log == both[0] + both[1]


def test_scores_order_and_noise_are_those_without_overlap() -> None:
    """Twice in a row, so that the second time says where the first left prompts and generator."""
    gathered = {}
    for waits in (False, True):
        ctx = context(seed=3)
        events = Events()
        ctx.policy.decode = noting(events, ctx.policy.decode, meet=not waits)
        with waiting_server(events, chunks=0 if waits else 4) as address:
            ctx.reward = load_reward(address)
            ctx.reward.differentiable = waits
            gathered[waits] = [explore(ctx, 7, 2) for _ in range(2)]
        gathered[waits].append(ctx.noise(1))
    for beside, alone in zip(*gathered.values(), strict=True):
        if isinstance(beside, Tensor):
            assert torch.equal(beside, alone)
            continue
        assert torch.equal(beside.latents, alone.latents)
        assert torch.equal(beside.rewards, alone.rewards)
        assert beside.rewards.unique().numel() >= 5
        assert beside.prompts == alone.prompts


def test_after_a_failure_nothing_more_is_scored_or_sampled() -> None:
    """A dead server takes a minute and a half to give up: once, not once for each chunk."""
    queries = []

    def dead(images: Tensor, prompts: list[str]) -> Tensor:
        queries.append(len(prompts))
        raise ConnectionError("the server is gone")

    with pytest.raises(ConnectionError, match="server is gone"):
        explore(context(reward=dead), 40, 2)
    assert queries == [2]

    def sample_for_ever() -> None:
        with Scoring(FunctionReward(dead)) as scoring:
            for _ in range(100_000):
                scoring.add(torch.zeros(1, 3, 1, 1), ["cat"])

    with pytest.raises(ConnectionError, match="server is gone") as raised:
        sample_for_ever()
    assert "add" in [entry.name for entry in raised.traceback]


def test_leaving_by_an_error_waits_for_nothing() -> None:
    """Ctrl-C while a dead server is asked again and again: the program can end."""
    events, queries = Events(), []

    def slow(images: Tensor, prompts: list[str]) -> Tensor:
        queries.append(len(prompts))
        events.note("begun")
        events.wait("left")
        events.note("done")
        return torch.zeros(len(prompts))

    def interrupted() -> None:
        with Scoring(FunctionReward(slow)) as scoring:
            for _ in range(3):
                scoring.add(torch.zeros(1, 3, 1, 1), ["cat"])
            events.wait("begun")
            raise KeyboardInterrupt

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert events.log == ["begun"]
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon
    events.note("left")
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert queries == [1]

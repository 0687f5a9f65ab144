"""Scores of sampled pictures, beside the sampling of the next ones where that gains time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

import torch

from kedge.no_grad import no_grad
from kedge.rewards.base import PartedReward, Reward, checked_scores, in_parts

if TYPE_CHECKING:
    from torch import Tensor

Scores = tuple["Tensor", dict[str, "Tensor"]]


class Scoring:
    """Scores chunk after chunk of pictures, in order, in a thread; the caller samples the next chunk meanwhile.

    A reward with a gradient is waited for: a network on the same device gains nothing from running beside the sampler.
    Used as ``with Scoring(reward) as scoring``. An error that leaves the block, a second Ctrl-C say, waits for nothing:
    the chunk that is being scored is given up, those behind it are not begun.
    """

    def __init__(self, reward: Reward):
        self._reward = reward
        self._waiting: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._chunks: list[Future[Scores]] = []

    def __enter__(self) -> Scoring:
        # A daemon, unlike a pool's: one that asks a dead server for minutes does not keep the program from ending.
        Thread(target=self._work, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        for chunk in self._chunks:
            chunk.cancel()
        self._waiting.put(None)

    def add(self, images: Tensor, prompts: Sequence[str]) -> None:
        """Score ``images`` ``[B, 3, H, W]`` in [0, 1] after all that came before.

        Raises:
            Exception: what the reward raised for an earlier chunk: nothing more need be sampled.
        """
        previous, chunk = self._chunks[-1] if self._chunks else None, Future[Scores]()
        if previous and previous.done():
            previous.result()
        self._chunks.append(chunk)
        self._waiting.put(partial(self._score, chunk, images, prompts=prompts, previous=previous))
        if self._reward.differentiable:
            chunk.result()

    def scores(self) -> Scores:
        """Of all pictures, ``[N]`` float32, and of their parts by name; waits for those that are not scored yet."""
        chunks = [chunk.result() for chunk in self._chunks]
        parts = {}
        for name in chunks[0][1]:
            parts[name] = torch.cat([own[name] for _, own in chunks])
        return torch.cat([total for total, _ in chunks]), parts

    def _work(self) -> None:
        while score_next := self._waiting.get():
            score_next()

    def _score(
        self, chunk: Future[Scores], images: Tensor, prompts: Sequence[str], previous: Future[Scores] | None
    ) -> None:
        if not chunk.set_running_or_notify_cancel():
            return
        try:
            if previous:
                previous.result()  # after one that failed, a chunk fails with it: a dead server is not tried once more
            chunk.set_result(score_in_parts(self._reward, images, prompts))
        except BaseException as error:
            chunk.set_exception(error)


@no_grad
def score(reward: Reward, images: Tensor, prompts: Sequence[str]) -> Tensor:
    """``reward(images, prompts)``, checked: ``[B]`` float32.

    Raises:
        ValueError: for a wrong shape, or for a score that is not finite.
    """
    return score_in_parts(reward, images, prompts)[0]


@no_grad
def score_in_parts(reward: Reward, images: Tensor, prompts: Sequence[str]) -> Scores:
    """As :func:`score`, and the scores that it is a weighted sum of, by name; none if it is no sum."""
    total, scores = in_parts(reward, images, prompts)
    parts = {}
    for name in reward.summands if isinstance(reward, PartedReward) else ():
        parts[name] = checked_scores(name, scores[name].float(), prompts)
    return checked_scores(reward.name, total.float(), prompts), parts

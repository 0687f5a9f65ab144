"""A reward on another machine or card: the server that :class:`kedge.rewards.remote.RemoteReward` asks.

It needs the extra ``study`` (starlette, uvicorn). Rewards run one request at a time, in a thread, so that the server
goes on answering.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
from typing import TYPE_CHECKING, Any

import torch

from kedge.rewards.base import Reward, checked_scores
from kedge.rewards.remote import KEY_VARIABLE, from_png
from kedge.units import MB

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse

LONGEST_REQUEST = 256 * MB
PATH = "/score"


class RefusedError(Exception):
    """A request that is not answered with scores."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def make_app(reward: Reward) -> Starlette:
    """``POST /score`` to score, ``GET /`` to see what it is. With ``KEDGE_REWARD_KEY`` set, only those who know it."""
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    one_at_a_time = asyncio.Lock()

    async def about(request: Request) -> JSONResponse:
        return JSONResponse({"reward": reward.name, "score": f"POST {PATH}"})

    async def score(request: Request) -> JSONResponse:
        try:
            _check_key(request)
            pictures, prompts = await _read(request)
            async with one_at_a_time:
                scores = await asyncio.to_thread(_score, reward, pictures, prompts)
        except RefusedError as error:
            return JSONResponse({"error": str(error)}, error.status)
        return JSONResponse({"scores": scores})

    return Starlette(routes=[Route("/", about), Route(PATH, score, methods=["POST"])])


def _check_key(request: Request) -> None:
    key = os.environ.get(KEY_VARIABLE)
    given_key = request.headers.get("authorization", "").removeprefix("Bearer ")
    if key and not hmac.compare_digest(key.encode(), given_key.encode()):
        raise RefusedError(401, f"this server wants its key: set {KEY_VARIABLE}")


async def _read(request: Request) -> tuple[list[str], list[str]]:
    """Pictures and prompts.

    Raises:
        RefusedError: too long, or not of the form that is wanted.
    """
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > LONGEST_REQUEST:
            raise RefusedError(413, f"more than {LONGEST_REQUEST // MB} MB in one request: send fewer pictures at once")
    try:
        body: Any = json.loads(data)
    except ValueError as error:
        raise RefusedError(400, f"not JSON: {error}") from error
    pictures: Any = body.get("images") if isinstance(body, dict) else None
    prompts: Any = body.get("prompts") if isinstance(body, dict) else None
    for values in (pictures, prompts):
        if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
            raise RefusedError(400, 'expected {"images": [PNG as base64, …], "prompts": [text, …]}, neither empty')
    if len(pictures) != len(prompts):
        raise RefusedError(400, f"{len(pictures)} images for {len(prompts)} prompts: send one prompt for each image")
    return pictures, prompts


@torch.no_grad()
def _score(reward: Reward, pictures: list[str], prompts: list[str]) -> list[float]:
    """The scores; pictures of different sizes are scored one by one."""
    try:
        images = [from_png(picture) for picture in pictures]
        if len({image.shape for image in images}) == 1:
            return checked_scores(reward.name, reward(torch.stack(images), prompts).float(), prompts).tolist()
        scores = []
        for image, prompt in zip(images, prompts, strict=True):
            scores += checked_scores(reward.name, reward(image[None], [prompt]).float(), [prompt]).tolist()
        return scores
    except ValueError as error:
        raise RefusedError(422, str(error)) from error

"""A reward behind an address: pictures and prompts go out, numbers come back.

``POST address`` with ``{"images": [PNG as base64, …], "prompts": [text, …]}`` is answered by
``{"scores": [number, …]}``.
``kedge serve-reward`` is such a server; anything else that keeps to these two lines is one too.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from kedge.pixels import to_uint8
from kedge.rewards.json_server import JsonServer, PassingError, ServerError
from kedge.rewards.preprocess import check_batch

KEY_VARIABLE = "KEDGE_REWARD_KEY"
LONGEST_TIMEOUT = 86400  # seconds: a day, for sockets and timers fail at numbers that are too large for them


class RemoteReward:
    """What the server at ``source`` answers; no gradient.

    Args:
        source: its whole address.
        batch: pictures in one request.
        timeout: seconds for one whole answer.
        attempts: tries in all before the run stops.
    """

    differentiable = False

    def __init__(self, source: str | None, batch: float = 16, timeout: float = 120.0, attempts: float = 8):
        if not source:
            raise ValueError("reward 'remote' needs an address: write http://HOST:PORT/score (see kedge serve-reward)")
        if not source.startswith(("http://", "https://")):
            raise ValueError(f"reward 'remote' needs a whole address, not {source!r}: write http://{source}")
        if batch < 1 or attempts < 1 or not 0 < timeout <= LONGEST_TIMEOUT:
            raise ValueError(
                f"reward {source!r}: batch and attempts must be 1 or more, and timeout above 0 and at most "
                f"{LONGEST_TIMEOUT} seconds, not {batch:g}, {attempts:g} and {timeout:g}"
            )
        self.name, self.batch = "remote", int(batch)
        self.server = JsonServer(source, "reward server", KEY_VARIABLE, timeout=timeout, attempts=int(attempts))

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1], sent as 8-bit PNGs; returns ``[B]`` float32.

        Raises:
            ServerError: the server refused, stayed silent through all tries, or did not return one number for each.
        """
        images = check_batch(images, prompts)
        pictures, scores = to_uint8(images).numpy(), []
        for start in range(0, len(prompts), self.batch):
            rows = slice(start, start + self.batch)
            scores += self._ask(pictures[rows], list(prompts[rows]))
        return torch.tensor(scores, dtype=torch.float32, device=images.device)

    def _ask(self, pictures: NDArray[np.uint8], prompts: list[str]) -> list[float]:
        body = {"images": [as_png(picture) for picture in pictures], "prompts": prompts}
        return list(self.server.ask("", body, lambda reply: self._read(reply, len(prompts))))

    def _read(self, reply: Any, count: int) -> list[float]:
        if not isinstance(reply, dict) or not isinstance(reply.get("scores"), list):
            raise PassingError(f"its reply holds no list of scores: {str(reply)[:200]}")
        scores = reply["scores"]
        numbers = [isinstance(score, int | float) and not isinstance(score, bool) for score in scores]
        if len(scores) != count or not all(numbers):
            others = "" if all(numbers) else f", {numbers.count(False)} of them no numbers"
            raise ServerError(
                f"the reward server at {self.server.url} returned {len(scores)} scores for {count} pictures{others}: "
                "it must return one number for each"
            )
        try:
            finite = list(map(float, scores))
        except OverflowError:  # a whole number with hundreds of digits
            finite = [math.inf]
        if not all(map(math.isfinite, finite)):
            shown = str(scores)[:200]
            raise ServerError(f"the reward server at {self.server.url} returned a score that is not finite: {shown}")
        return finite


def as_png(picture: NDArray[np.uint8]) -> str:
    """``[H, W, 3]`` as base64 of a PNG, which loses nothing."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def from_png(text: str) -> Tensor:
    """Back: ``[3, H, W]`` float32 in [0, 1].

    Raises:
        ValueError: it is not base64 of a picture.
    """
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(text, validate=True))).convert("RGB")
    except (OSError, ValueError, TypeError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a picture as base64: {error}") from error
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255

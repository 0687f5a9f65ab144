"""Simulated raters: they open their links and vote over HTTP as people do, and see what the oracle sees, blurred.

They know nothing that a page does not show: which model drew a picture is as hidden from them as from people.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kedge.pixels import as_rgb, from_uint8
from kedge.study.questions import QUESTIONS

Look = Callable[[Tensor, str, str], tuple[float, float]]
"""Scores two pictures ``[2, 3, H, W]`` in [0, 1] for a prompt and a question's key, in [0, 1]."""
KEYS = {question.text: key for key, question in QUESTIONS.items()}


@dataclass(frozen=True)
class Habits:
    """What makes a rater human.

    Attributes:
        blur: the spread of the noise on the difference of two scores (logistic).
        slips: the share of answers that are a wrong key.
        tie: differences smaller than this look the same.
        leaning: added to the left picture's score.
    """

    blur: float = 0.06
    slips: float = 0.03
    tie: float = 0.03
    leaning: float = 0.0

    def choose(self, left: float, right: float, rng: random.Random) -> str:
        """``left``, ``right`` or ``tie``, for two scores."""
        if rng.random() < self.slips:
            return rng.choice(["left", "right"])
        u = min(max(rng.random(), 1e-9), 1 - 1e-9)
        seen = left + self.leaning - right + self.blur * math.log(u / (1 - u))
        return "tie" if abs(seen) < self.tie else "left" if seen > 0 else "right"


def oracle_look() -> Look:
    """The emoji world's oracle: the total for a preference, its parts for appeal and alignment."""
    from kedge.worlds.emoji.oracle import Oracle

    oracle = Oracle()

    def look(images: Tensor, prompt: str, question: str) -> tuple[float, float]:
        parts = oracle.parts(images, [prompt, prompt])
        if question == "appeal":
            scores = parts.clean
        elif question == "alignment":
            aspects = torch.stack([parts.animal, parts.number, parts.place, parts.background, parts.activity])
            scores = aspects.clamp(min=0.02).log().mean(0).exp()
        else:
            scores = parts.total
        return float(scores[0]), float(scores[1])

    return look


def simulate(links: Sequence[str], look: Look, habits: Habits, *, seed: int = 0, at_once: int = 4) -> int:
    """Let every link's rater judge all that is left to judge; returns the number of votes.

    Raises:
        ValueError: a link leads nowhere, or the server refuses a vote.
    """

    def rate(i: int, link: str) -> int:
        return _rate(link, look, habits, random.Random(f"{seed} {i}"))

    try:
        with ThreadPoolExecutor(at_once) as pool:
            return sum(pool.map(rate, range(len(links)), links))
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ValueError(f"no study answers at {', '.join(links[:3])}: {error or type(error).__name__}") from error


def _rate(link: str, look: Look, habits: Habits, rng: random.Random) -> int:
    votes, scores, key = 0, (0.0, 0.0), None
    with httpx2.Client(base_url=link, timeout=60) as client:
        now = _answer(client.get("state"))
        while now["open"] and now["position"] < now["total"]:
            question = KEYS.get(now["questions"][now["question"]], "preference")
            if key != (now["position"], question):
                key = (now["position"], question)
                scores = look(_pictures(client, now["position"]), now["prompt"], question)
            choice = habits.choose(*scores, rng)
            vote = {"position": now["position"], "question": now["question"], "choice": choice}
            vote |= {"milliseconds": _thinking(scores, rng), "undone": now["undone"]}
            now = _answer(client.post("vote", json=vote))
            votes += 1
    return votes


def _thinking(scores: tuple[float, float], rng: random.Random) -> int:
    """People take longer over pairs that are alike."""
    return round(1000 * rng.lognormvariate(0.5 + 0.6 * (1 - abs(scores[0] - scores[1])), 0.35))


def _pictures(client: httpx2.Client, position: int) -> Tensor:
    pixels = []
    for side in ("left", "right"):
        data = client.get(f"picture/{position}/{side}").content
        pixels.append(np.array(as_rgb(Image.open(io.BytesIO(data)))))
    return from_uint8(np.stack(pixels))


def _answer(response: httpx2.Response) -> dict[str, Any]:
    if response.status_code != 200:
        raise ValueError(f"{response.url} answered {response.status_code}: {response.text[:200]}")
    try:
        state = response.json()
    except ValueError as error:
        raise ValueError(f"{response.url} is no rater's link: its answer is not JSON") from error
    if not isinstance(state, dict) or not {"open", "position", "total", "questions"} <= state.keys():
        raise ValueError(f"{response.url} is no rater's link: {response.text[:100]!r}")
    return {"undone": 0, **state}

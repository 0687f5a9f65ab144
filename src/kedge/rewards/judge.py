"""A model behind a server is asked about each picture, and its words are read as a number."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from kedge.pixels import to_uint8
from kedge.registry import suggest
from kedge.rewards.judge_templates import TEMPLATES, JudgeTemplate, number_after
from kedge.rewards.preprocess import check_batch
from kedge.rewards.vision_server import VisionServer

log = logging.getLogger(__name__)

PLACE = "{prompt}"


class Judge:
    """The number in the model's answer; no gradient. An answer without one scores ``unread``.

    Args:
        source: the server's address, ``http://HOST:PORT/v1`` or with ``#MODEL``.
        template: a way to ask, of :data:`kedge.rewards.judge_templates.TEMPLATES`.
        question, pattern: to ask something else: ``{prompt}`` becomes the prompt, and the last match of the regular
            expression's group is the number.
        unread: the score of an answer that holds no number.
        workers: pictures asked about at the same time.
    """

    differentiable = False

    def __init__(
        self,
        source: str | None,
        template: str = "rating",
        question: str = "",
        pattern: str = "",
        unread: float = 0.0,
        workers: float = 8,
    ):
        if workers < 1:
            raise ValueError(f"judge: workers must be 1 or more, not {workers:g}")
        self.name, self.unread, self.workers = "judge", unread, int(workers)
        self.warned = False
        self.template = _template(template, question, pattern)
        if source is None:
            raise ValueError("reward 'judge' asks a server: write judge@http://HOST:PORT/v1, or …/v1#MODEL")
        self.server = replace(VisionServer.parse(source), max_tokens=self.template.longest)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``.

        Raises:
            ServerError: the server refused, or stayed silent through all tries.
        """
        images = check_batch(images, prompts)
        with ThreadPoolExecutor(self.workers) as pool:
            answers = list(pool.map(self._ask, to_uint8(images).numpy(), prompts))
        numbers = list(map(self.template.read, answers, prompts))
        self._warn_of_silence(answers, numbers)
        scores = []
        for number in numbers:
            scores.append(self.unread if number is None else number)
        return torch.tensor(scores, dtype=torch.float32, device=images.device)

    def _ask(self, pixels: NDArray[np.uint8], prompt: str) -> str:
        return self.server.ask(Image.fromarray(pixels), self.template.question.replace(PLACE, prompt))

    def _warn_of_silence(self, answers: list[str], numbers: list[float | None]) -> None:
        """Say once that no answer of a batch was read: scores that are all alike teach nothing."""
        if self.warned or any(number is not None for number in numbers):
            return
        self.warned = True
        log.warning(
            "reward 'judge': no number was read from any of %d answers, which score %g each; one of them ends %r. "
            "Does the template, or the pattern, fit this model?",
            *(len(answers), self.unread, answers[0][-80:]),
        )


def _template(name: str, question: str, pattern: str) -> JudgeTemplate:
    if name not in TEMPLATES:
        raise ValueError(f"judge: no template {name!r}.{suggest(name, TEMPLATES)} Choose from: {', '.join(TEMPLATES)}")
    template = TEMPLATES[name]
    if question:
        template = replace(template, question=question)
    if pattern:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"judge: the pattern {pattern!r} is no regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"judge: the pattern {pattern!r} must have one group, round the number; it has {groups}")
        template = replace(template, read=number_after(pattern))
    return template

"""Prompt–image alignment as in DDPO and RLCM: ask a vision-language model what it sees, compare with the prompt."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from kedge.pixels import to_uint8
from kedge.registry import load_object
from kedge.rewards.bertscore import BertScore
from kedge.rewards.preprocess import check_batch
from kedge.rewards.sources import world_assets
from kedge.rewards.vision_server import VisionServer
from kedge.rewards.weights import Device

QUESTION = "Answer concisely: what is going on in this image?"
ANSWER = "The image contains {prompt}"


class Alignment:
    """BERTScore recall of the model's answer against "The image contains {prompt}"; no gradient.

    Args:
        encoder: the transformers folder of BERTScore's network (RLCM: microsoft/deberta-xlarge-mnli).
        source: the server's address, ``http://HOST:PORT/v1`` or with ``#MODEL``; ``emoji`` starts the emoji world's
            captioner as a local server.
        server: a ready-made client instead, with time-outs and patience of your own.
        workers: pictures asked about at the same time.
    """

    differentiable = False

    def __init__(
        self,
        encoder: Path,
        source: str | None = None,
        name: str = "alignment",
        device: Device = "cpu",
        server: VisionServer | None = None,
        workers: int = 8,
        question: str = QUESTION,
        answer: str = ANSWER,
    ):
        self.name, self.workers, self.question, self.answer = name, workers, question, answer
        self.server = server or self._connect(source)
        self.similarity = BertScore(encoder, device)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``. A picture without an answer scores 0.

        Raises:
            ServerError: the server refused, or stayed silent through all tries.
        """
        images = check_batch(images, prompts)
        said = self.captions(images)
        meant = [self.answer.format(prompt=prompt) for prompt in prompts]
        return self.similarity.recall(said, meant).to(images.device)

    def captions(self, images: Tensor) -> list[str]:
        """What the model says about each picture."""
        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(self._ask, to_uint8(images).numpy()))

    def _ask(self, pixels: NDArray[np.uint8]) -> str:
        return self.server.ask(Image.fromarray(pixels), self.question)

    def _connect(self, source: str | None) -> VisionServer:
        if source is None:
            raise ValueError(
                f"reward {self.name!r} asks a vision-language model and needs its server: write "
                f"{self.name}@http://HOST:PORT/v1 (for example after: vllm serve llava-hf/llava-1.5-7b-hf), "
                f"or {self.name}@emoji for the emoji world's captioner"
            )
        if source != "emoji":
            return VisionServer.parse(source)
        local = load_object("kedge.worlds.emoji.captioner:CaptionServer")(world_assets() / "captioner")
        weakref.finalize(self, local.close)
        return VisionServer.at(local.url, local.model_name)

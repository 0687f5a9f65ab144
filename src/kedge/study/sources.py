"""Where the pictures of a study come from: models that draw, or folders of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from kedge.algorithms.votes import seeded_pairs
from kedge.evaluation.grid import as_image
from kedge.evaluation.image_folder import read_image_folder
from kedge.pixels import as_rgb
from kedge.policies.base import Policy, rollout
from kedge.policies.sampling import draw

Progress = Callable[[int, int], None]


class Source(Protocol):
    """Something that has a picture for a prompt and a seed."""

    @property
    def name(self) -> str:
        """Of the model, for reports; raters never see it."""

    @property
    def facts(self) -> dict[str, Any]:
        """What else the owner should know about it later."""

    def pictures(self, prompts: Sequence[str], seeds: Sequence[int], copies: Sequence[int] = ()) -> list[Image.Image]:
        """One picture for each prompt and seed.

        Args:
            copies: how often each prompt occurred before, for a source that has several pictures of a prompt.
        """


@dataclass(frozen=True)
class ModelSource:
    """A policy, or the frozen base that it started from.

    Attributes:
        reference: draw with the base.
        batch_size: pictures at once.
    """

    name: str
    policy: Policy
    reference: bool = False
    batch_size: int = 8
    facts: dict[str, Any] = field(default_factory=dict)

    def pictures(self, prompts: Sequence[str], seeds: Sequence[int], copies: Sequence[int] = ()) -> list[Image.Image]:
        """See :func:`kedge.policies.sampling.draw`: the same seed gives every model the same noise."""
        with self.policy.reference() if self.reference else nullcontext():
            return list(map(as_image, draw(self.policy, prompts, seeds, self.batch_size)))

    @torch.no_grad()
    def twins(self, prompts: Sequence[str], seeds: Sequence[int]) -> tuple[list[Image.Image], list[Image.Image]]:
        """Two pictures for each prompt, which share their first noise: exactly those that D3PO draws for the seed."""
        first, second = [], []
        for start in range(0, len(prompts), self.batch_size):
            batch = slice(start, start + self.batch_size)
            images = self._draw_twins(prompts[batch], seeds[batch])
            first += images[: len(images) // 2]
            second += images[len(images) // 2 :]
        return first, second

    def siblings(self, prompts: Sequence[str], seeds: Sequence[int]) -> tuple[list[Image.Image], list[Image.Image]]:
        """Two pictures for each prompt from different noise: they differ more than twins, and teach a reward more."""
        return self.pictures(prompts, seeds), self.pictures(prompts, [seed + 1 for seed in seeds])

    def _draw_twins(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        noise = seeded_pairs(self.policy, seeds)
        with self.policy.reference() if self.reference else nullcontext():
            x0 = rollout(self.policy, self.policy.encode([*prompts, *prompts]), noise).x0
        return list(map(as_image, self.policy.decode(x0).float().cpu()))


class FolderSource:
    """A folder of images with their prompts, made by anything; it has no seeds.

    Several pictures of one prompt take turns, in the order of their names.
    """

    def __init__(self, folder: Path):
        paths, prompts = read_image_folder(folder)
        self.name, self.facts = folder.resolve().name, {"images": str(folder)}
        self.by_prompt: dict[str, list[Path]] = {}
        for prompt, path in zip(prompts, paths, strict=True):
            self.by_prompt.setdefault(prompt, []).append(path)

    def pictures(self, prompts: Sequence[str], seeds: Sequence[int], copies: Sequence[int] = ()) -> list[Image.Image]:
        """The pictures of ``prompts``.

        Raises:
            ValueError: there is none for a prompt.
        """
        missing = []
        for prompt in prompts:
            if prompt not in self.by_prompt:
                missing.append(prompt)
        if missing:
            raise ValueError(
                f"{self.facts['images']} has no picture for {missing[0]!r}: both sides need the same prompts"
            )
        pictures = []
        for prompt, copy in zip(prompts, copies or [0] * len(prompts), strict=True):
            paths = self.by_prompt[prompt]
            pictures.append(as_rgb(paths[copy % len(paths)]))
        return pictures

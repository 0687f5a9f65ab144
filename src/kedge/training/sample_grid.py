"""Pictures from fixed prompts and noise while a run trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kedge.evaluation import evaluate, image_grid
from kedge.evaluation.picture_files import save_picture
from kedge.training.callbacks import Watched, due


class SampleGrid:
    """Pictures from fixed prompts and noise while it trains, base beside tuned.

    Writes ``samples/step-000050.png``: a row for each prompt, the base model's picture beside the tuned one's.

    Args:
        folder: where the pictures go.
        prompts: what to draw.
        seed: of the noise, the same at every step and for both models.
        every: steps between pictures; 0 draws none.
        batch_size: pictures at once.
    """

    name = "samples"

    def __init__(self, folder: Path, prompts: Sequence[str], *, seed: int, every: int, batch_size: int):
        self.folder, self.prompts = folder, list(prompts)
        self.seed, self.every, self.batch_size = seed, every, batch_size
        self._base: NDArray[np.uint8] | None = None

    def __call__(self, step: int, run: Watched) -> dict[str, float]:
        """Draw if it is time."""
        if not due(step, self.every) or not self.prompts:
            return {}
        if self._base is None:
            self._base = self._draw(run, reference=True)
        with run.averaged():
            tuned = self._draw(run, reference=False)
        self.folder.mkdir(parents=True, exist_ok=True)
        grid = image_grid({"base": self._base, f"step {step}": tuned}, self.prompts)
        save_picture(grid, self.folder / f"step-{step:06d}.png")
        run.image("samples", torch.from_numpy(np.array(grid)).permute(2, 0, 1).float() / 255)
        return {}

    def _draw(self, run: Watched, reference: bool) -> NDArray[np.uint8]:
        drawn = evaluate(
            run.policy,
            {},
            self.prompts,
            seed=self.seed,
            batch_size=self.batch_size,
            reference=reference,
            keep_images=len(self.prompts),
        )
        assert drawn.images is not None  # keep_images asks for them
        return drawn.images

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the base model's pictures are drawn again."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take up."""

"""Where a build stands: its folder, and what its stages share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ConfigMixin
from transformers import CLIPTokenizer

from kedge.worlds.emoji.build.budget import Budget
from kedge.worlds.emoji.build.pool import Pool, draw_loose_pool, draw_pool, encode_scenes
from kedge.worlds.emoji.networks import make_tokenizer

SEED = 2026


@dataclass
class Workshop:
    """Where a build stands: its folder, its budget, its device, and what it has drawn."""

    folder: Path
    budget: Budget
    device: torch.device
    seed: int = SEED
    _pool: Pool | None = None
    _loose_pool: Pool | None = None

    @property
    def tokenizer(self) -> CLIPTokenizer:
        """Made on first use."""
        folder = self.folder / "tokenizer"
        if (folder / "tokenizer.json").exists():
            return CLIPTokenizer.from_pretrained(folder)
        return make_tokenizer(folder)

    @property
    def pool(self) -> Pool:
        """The training scenes, drawn once per process."""
        if self._pool is None:
            self._pool = draw_pool(self.budget.pool, self.seed, self.tokenizer, self.device)
        return self._pool

    @property
    def loose_pool(self) -> Pool:
        """The loosely captioned scenes that the generators learn, drawn once per process."""
        if self._loose_pool is None:
            self._loose_pool = draw_loose_pool(self.budget.pool, self.seed + 20, self.tokenizer, self.device)
        return self._loose_pool

    def load(self, kind: Any, name: str) -> Any:
        """A finished part, in float32.

        Raises:
            FileNotFoundError: naming the stage that makes it.
        """
        if not (self.folder / name).is_dir():
            raise FileNotFoundError(f"{self.folder / name} is missing: run the stage that makes it first")
        part = kind.from_pretrained(self.folder / name).to(self.device, torch.float32)
        if isinstance(part, ConfigMixin):
            part.register_to_config(_name_or_path=name)  # else the builder's own path would ship in the config
        return part

    def save(self, name: str, module: Any) -> None:
        """Keep a part in half precision; one tensor layout, whatever the training used."""
        module = module.to("cpu", torch.float16).to(memory_format=torch.contiguous_format)
        module.save_pretrained(self.folder / name)

    def note(self, record: dict[str, Any]) -> None:
        """Add a line to the build's log."""
        with (self.folder / "build.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")

    def latents(self) -> torch.Tensor:
        """Unit-variance latents of the loosely captioned scenes."""
        file = self.folder / "latents.pt"
        if not file.exists():  # they take minutes on a CPU, and two stages want them
            vae = self.load(AutoencoderKL, "vae")
            torch.save(encode_scenes(vae, self.loose_pool.scenes).cpu() * vae.config.scaling_factor, file)
        latents: torch.Tensor = torch.load(file, map_location=self.device, weights_only=True)
        return latents

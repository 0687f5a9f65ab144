"""The recipe that made the emoji world's weights: stages in order, each seeded, resumable and logged.

    kedge world build [STAGE …] [--out FOLDER] [--budget cpu|gpu]

Each stage reads what earlier ones left in FOLDER and writes half-precision safetensors there; ``pack`` assembles the
folders that diffusers opens.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, LatentConsistencyModelPipeline, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from kedge.rewards.aesthetic import save_head
from kedge.worlds.emoji.build.aesthetic import train_aesthetic
from kedge.worlds.emoji.build.clip import train_clip
from kedge.worlds.emoji.build.diffusion import train_diffusion
from kedge.worlds.emoji.build.lcm import train_lcm
from kedge.worlds.emoji.build.loop import Schedule
from kedge.worlds.emoji.build.pictures import Pictures, draw_pictures
from kedge.worlds.emoji.build.pool import Pool, draw_pool, encode_pool, tokenize
from kedge.worlds.emoji.build.preference import Raters, pairwise_accuracy, scorer, train_preference
from kedge.worlds.emoji.build.vae import train_vae
from kedge.worlds.emoji.networks import make_scheduler, make_tokenizer

SEED = 2026


@dataclass(frozen=True)
class Budget:
    """How much of everything; ``gpu`` made the weights that ship, ``cpu`` is a night on two cores."""

    pool: int
    vae: Schedule
    diffusion: Schedule
    lcm: Schedule
    clip: Schedule
    pictures: int  # prompts whose candidates are judged
    preference: Schedule


BUDGETS = {
    "gpu": Budget(
        pool=400_000,
        vae=Schedule(steps=9_000, batch=512, lr=1e-3),
        diffusion=Schedule(steps=12_000, batch=2048, lr=1e-3, ema=0.9995, warmup=500),
        lcm=Schedule(steps=8_000, batch=1024, lr=3e-4, ema=0.9995, warmup=500),
        clip=Schedule(steps=5_000, batch=1024, lr=1e-3),
        pictures=4_000,
        preference=Schedule(steps=3_000, batch=128, lr=2e-4, ema=0.99, warmup=50),
    ),
    "cpu": Budget(
        pool=60_000,
        vae=Schedule(steps=2_500, batch=16, lr=2e-3, warmup=100, ema=0.995),
        clip=Schedule(steps=1_000, batch=128, lr=1e-3, warmup=100, ema=0.99),
        diffusion=Schedule(steps=4_000, batch=64, lr=1e-3, ema=0.998),
        lcm=Schedule(steps=1_200, batch=48, lr=4e-4, ema=0.99, warmup=50),
        pictures=1_500,
        preference=Schedule(steps=800, batch=64, lr=2e-4, ema=0.99, warmup=50),
    ),
    "smoke": Budget(
        pool=512,
        vae=Schedule(steps=4, batch=8, lr=1e-3, warmup=2),
        diffusion=Schedule(steps=4, batch=8, lr=6e-4, warmup=2),
        lcm=Schedule(steps=4, batch=8, lr=3e-4, warmup=2),
        clip=Schedule(steps=4, batch=8, lr=1e-3, warmup=2),
        pictures=20,
        preference=Schedule(steps=4, batch=8, lr=1e-3, warmup=2),
    ),
}


@dataclass
class Workshop:
    """Where a build stands: its folder, its budget, its device, and what it has drawn."""

    folder: Path
    budget: Budget
    device: torch.device
    seed: int = SEED
    _pool: Pool | None = None

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

    def load(self, kind: type, name: str) -> torch.nn.Module:
        """A finished part, in float32.

        Raises:
            FileNotFoundError: naming the stage that makes it.
        """
        if not (self.folder / name).is_dir():
            raise FileNotFoundError(f"{self.folder / name} is missing: run the stage that makes it first")
        return kind.from_pretrained(self.folder / name).to(self.device, torch.float32)

    def save(self, name: str, module: torch.nn.Module) -> None:
        """Keep a part in half precision; one tensor layout, whatever the training used."""
        module = module.to("cpu", torch.float16).to(memory_format=torch.contiguous_format)
        module.save_pretrained(self.folder / name)

    def note(self, record: dict) -> None:
        """Add a line to the build's log."""
        with (self.folder / "build.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")

    def latents(self) -> torch.Tensor:
        """Unit-variance latents of the pool."""
        vae = self.load(AutoencoderKL, "vae")
        return encode_pool(vae, self.pool) * vae.config.scaling_factor


def build_vae(shop: Workshop) -> None:
    """The autoencoder."""
    shop.save("vae", train_vae(shop.pool, shop.budget.vae, shop.folder, seed=shop.seed + 1, device=shop.device))


def build_clip(shop: Workshop) -> None:
    """The CLIP behind the learned rewards."""
    schedule = shop.budget.clip
    clip = train_clip(shop.pool, shop.tokenizer, schedule, shop.folder, seed=shop.seed + 4, device=shop.device)
    shop.save("clip", clip)


def build_diffusion(shop: Workshop) -> None:
    """The diffusion model and its text encoder."""
    unet, text = train_diffusion(
        shop.pool,
        shop.latents(),
        shop.load(CLIPModel, "clip"),
        shop.tokenizer,
        shop.budget.diffusion,
        shop.folder,
        seed=shop.seed + 2,
        device=shop.device,
    )
    shop.save("unet", unet)
    shop.save("text_encoder", text)


def build_lcm(shop: Workshop) -> None:
    """The consistency model, distilled from the diffusion model."""
    unet = train_lcm(
        shop.pool,
        shop.latents(),
        shop.load(UNet2DConditionModel, "unet"),
        shop.load(CLIPTextModel, "text_encoder"),
        shop.tokenizer,
        shop.budget.lcm,
        shop.folder,
        seed=shop.seed + 3,
        device=shop.device,
    )
    shop.save("lcm_unet", unet)


def build_pack(shop: Workshop) -> None:
    """Assemble the folders that diffusers opens."""
    parts = {
        "vae": shop.load(AutoencoderKL, "vae"),
        "text_encoder": shop.load(CLIPTextModel, "text_encoder"),
        "tokenizer": shop.tokenizer,
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    for name, kind, unet, scheduler in (
        ("emoji-diffusion", StableDiffusionPipeline, "unet", "ddim"),
        ("emoji-lcm", LatentConsistencyModelPipeline, "lcm_unet", "lcm"),
    ):
        if (shop.folder / unet).is_dir():
            network = shop.load(UNet2DConditionModel, unet)
            pipeline = kind(**parts, unet=network, scheduler=make_scheduler(scheduler))
            pipeline.to("cpu", torch.float16).save_pretrained(shop.folder / name)


def build_pictures(shop: Workshop) -> None:
    """Candidates for the raters, judged by the oracle."""
    drawn = draw_pictures(shop.folder / "emoji-lcm", shop.budget.pictures, seed=shop.seed + 5, device=shop.device)
    drawn.save(shop.folder / "pictures.npz")


# PickScore and HPSv2 are two houses: other votes, other raters, other lengths of training.
def build_pickscore(shop: Workshop) -> None:
    """A preference model in PickScore's format."""
    build_preference(shop, "pickscore", Raters(temperature=0.08, slips=0.05), pairs=8 * shop.budget.pictures, salt=6)


def build_preference(shop: Workshop, name: str, raters: Raters, *, pairs: int, salt: int) -> None:
    """Fine-tune the CLIP on votes and note the accuracy on held-out prompts."""
    train, held = Pictures.load(shop.folder / "pictures.npz").split()
    model = train_preference(
        name,
        shop.load(CLIPModel, "clip").cpu(),
        shop.tokenizer,
        train,
        raters,
        shop.budget.preference,
        shop.folder,
        seed=shop.seed + salt,
        pairs=pairs,
    )
    accuracy = pairwise_accuracy(scorer(model), tokenize(shop.tokenizer, held.prompts), held)
    shop.note({"reward": name, "pairwise_accuracy": accuracy, "pairs": pairs} | asdict(raters))
    shop.save(name, model)


def build_aesthetic(shop: Workshop) -> None:
    """The aesthetic head in LAION's format."""
    pictures = Pictures.load(shop.folder / "pictures.npz")
    head, correlation = train_aesthetic(shop.load(CLIPModel, "clip").cpu(), pictures, seed=shop.seed + 7)
    shop.note({"reward": "aesthetic", "correlation_with_taste": correlation})
    save_head(head, shop.folder / "aesthetic.pth")


STAGES: dict[str, Callable[[Workshop], None]] = {
    "vae": build_vae,
    "clip": build_clip,
    "diffusion": build_diffusion,
    "lcm": build_lcm,
    "pack": build_pack,
    "pictures": build_pictures,
    "pickscore": build_pickscore,
    "aesthetic": build_aesthetic,
}


def build(stages: list[str], folder: Path, budget: str, device: str | None = None) -> None:
    """Run stages in order and note how long each took in ``FOLDER/build.jsonl``."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    shop = Workshop(folder, BUDGETS[budget], torch.device(device))
    folder.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        began = time.monotonic()
        STAGES[stage](shop)
        name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
        record = {
            "stage": stage,
            "seconds": round(time.monotonic() - began, 1),
            "device": name,
            "torch": torch.__version__,
        }
        if hasattr(shop.budget, stage):
            size = getattr(shop.budget, stage)
            record |= asdict(size) if isinstance(size, Schedule) else {"size": size}
        shop.note(record)

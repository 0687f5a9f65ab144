"""The recipe that made the emoji world's weights: stages in order, each seeded, resumable and logged.

    kedge world build [STAGE …] [--out FOLDER] [--budget cpu|h100|smoke]

Each stage reads what earlier ones left in FOLDER and writes half-precision safetensors there; ``pack`` assembles the
folders that diffusers opens.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from diffusers import AutoencoderKL, LatentConsistencyModelPipeline, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPModel, CLIPTextModel

from kedge.worlds.emoji.build import flow_stages, judges
from kedge.worlds.emoji.build.agreement import measure_rewards, write_scales
from kedge.worlds.emoji.build.budget import BUDGETS
from kedge.worlds.emoji.build.card import write_card
from kedge.worlds.emoji.build.clip import train_clip
from kedge.worlds.emoji.build.diffusion import train_diffusion
from kedge.worlds.emoji.build.install import install
from kedge.worlds.emoji.build.lcm import train_lcm
from kedge.worlds.emoji.build.loop import Schedule, average_file, standing, state_file
from kedge.worlds.emoji.build.pictures import Pictures, draw_pictures
from kedge.worlds.emoji.build.quality import (
    measure_autoencoder,
    measure_flow_steps,
    measure_models,
    measure_settings,
    show_autoencoder,
)
from kedge.worlds.emoji.build.vae import train_decoder, train_vae
from kedge.worlds.emoji.build.workshop import Workshop
from kedge.worlds.emoji.networks import make_scheduler


def build_vae(shop: Workshop) -> None:
    """The autoencoder."""
    shop.save("vae", train_vae(shop.pool, shop.budget.vae, shop.folder, seed=shop.seed + 1, device=shop.device))


def build_decoder(shop: Workshop) -> None:
    """A sharper decoder for the same latents."""
    vae = shop.load(AutoencoderKL, "vae")
    schedule = shop.budget.decoder
    vae = train_decoder(vae, shop.pool, schedule, shop.folder, seed=shop.seed + 8, device=shop.device)
    shop.save("sharp_vae", vae)


def build_clip(shop: Workshop) -> None:
    """The CLIP behind the learned rewards."""
    schedule = shop.budget.clip
    clip = train_clip(shop.pool, shop.tokenizer, schedule, shop.folder, seed=shop.seed + 4, device=shop.device)
    shop.save("clip", clip)


def build_diffusion(shop: Workshop) -> None:
    """The diffusion model and its text encoder."""
    unet, text = train_diffusion(
        shop.loose_pool,
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
        shop.loose_pool,
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
        "vae": shop.load(AutoencoderKL, "sharp_vae"),
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
    drawn = draw_pictures(
        shop.folder,
        shop.load(AutoencoderKL, "sharp_vae"),
        shop.budget.pictures,
        seed=shop.seed + 5,
        device=shop.device,
    )
    drawn.save(shop.folder / "pictures.npz")


def build_reconstructions(shop: Workshop) -> None:
    """Measure the autoencoder that ships, and draw originals above reconstructions."""
    vae = shop.load(AutoencoderKL, "sharp_vae").cpu()
    shop.note({"autoencoder": measure_autoencoder(vae, seed=shop.seed + 21)})
    show_autoencoder(vae, shop.folder / "reconstructions.png", seed=shop.seed + 21)


def build_quality(shop: Workshop) -> None:
    """Measure the models by the oracle."""
    for name, scores in measure_models(shop.folder, seed=shop.seed + 9, device=str(shop.device)).items():
        shop.note({"model": name} | scores)
    shop.note({"settings": measure_settings(shop.folder, seed=shop.seed + 22, device=str(shop.device))})
    if (shop.folder / flow_stages.MODEL).is_dir():
        shop.note({"flow_steps": measure_flow_steps(shop.folder, seed=shop.seed + 23, device=str(shop.device))})


def build_install(shop: Workshop) -> None:
    """Copy what ships into the package, and measure the scale of each reward there."""
    install(shop.folder)
    write_scales(shop.folder, seed=shop.seed + 10)
    _, held = Pictures.load(shop.folder / "pictures.npz").split()
    shop.note(measure_rewards(held, seed=shop.seed + 16).as_record())
    write_card(shop.folder)


STAGES: dict[str, Callable[[Workshop], None]] = {
    "vae": build_vae,
    "decoder": build_decoder,
    "clip": build_clip,
    "diffusion": build_diffusion,
    "lcm": build_lcm,
    "reconstructions": build_reconstructions,
    "pack": build_pack,
    **flow_stages.STAGES,
    "pictures": build_pictures,
    **judges.STAGES,
    "quality": build_quality,
}
INSTALL = "install"  # changes the package itself, so it is never run unasked
ALL_STAGES = {**STAGES, INSTALL: build_install}


def build(stages: list[str], folder: Path, budget: str, device: str | None = None, *, again: bool = False) -> None:
    """Run stages in order and note how long each took in ``FOLDER/build.jsonl``.

    Args:
        again: forget how far these stages' trainings had come.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    shop = Workshop(folder, BUDGETS[budget], torch.device(device))
    folder.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        began = time.monotonic()
        if again:
            state_file(folder, stage).unlink(missing_ok=True)
            average_file(folder, stage).unlink(missing_ok=True)
        come_to = standing(folder, stage)
        ALL_STAGES[stage](shop)
        name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
        record = {
            "stage": stage,
            "seconds": round(time.monotonic() - began, 1),
            "device": name,
            "torch": torch.__version__,
        }
        if hasattr(shop.budget, stage):
            size = getattr(shop.budget, stage)
            record["pool"] = shop.budget.pool
            record |= asdict(size) | {"from_step": come_to} if isinstance(size, Schedule) else {"size": size}
        shop.note(record)

"""The recipe's stages of the flow model: of many steps, of few steps, and the folder that diffusers opens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import AutoencoderKL, ZImagePipeline, ZImageTransformer2DModel
from transformers import Qwen2Tokenizer, Qwen3Model

from kedge.worlds.emoji.build.flow import train_flow
from kedge.worlds.emoji.build.flow_few import train_flow_few
from kedge.worlds.emoji.build.flow_networks import make_flow_scheduler, make_flow_tokenizer
from kedge.worlds.emoji.build.workshop import Workshop

MODEL, TOKENIZER = "emoji-flow", "flow_tokenizer"


def flow_tokenizer(shop: Workshop) -> Qwen2Tokenizer:
    """Made on first use."""
    folder = shop.folder / TOKENIZER
    if (folder / "tokenizer.json").exists():
        return Qwen2Tokenizer.from_pretrained(folder)
    return make_flow_tokenizer(folder)


def build_flow(shop: Workshop) -> None:
    """The flow model of many steps and its text encoder."""
    network, text = train_flow(
        shop.loose_pool,
        shop.latents(),
        shop.tokenizer,
        flow_tokenizer(shop),
        shop.budget.flow,
        shop.folder,
        seed=shop.seed + 11,
        device=shop.device,
    )
    shop.save("flow_transformer", network)
    shop.save("flow_text_encoder", text)


def build_flow_few(shop: Workshop) -> None:
    """The flow model of few steps, distilled from it."""
    network = train_flow_few(
        shop.loose_pool,
        shop.latents(),
        shop.load(ZImageTransformer2DModel, "flow_transformer"),
        shop.load(Qwen3Model, "flow_text_encoder"),
        shop.tokenizer,
        flow_tokenizer(shop),
        shop.budget.flow_few,
        shop.folder,
        seed=shop.seed + 12,
        device=shop.device,
    )
    shop.save("flow_few_transformer", network)


def build_pack_flow(shop: Workshop) -> None:
    """Assemble the folder that diffusers opens."""
    vae = shop.load(AutoencoderKL, "sharp_vae")
    vae.register_to_config(shift_factor=0.0)  # this pipeline adds it, so there must be one
    pipeline = ZImagePipeline(
        scheduler=make_flow_scheduler(),
        vae=vae,
        text_encoder=shop.load(Qwen3Model, "flow_text_encoder"),
        tokenizer=flow_tokenizer(shop),
        transformer=shop.load(ZImageTransformer2DModel, "flow_few_transformer"),
    )
    pipeline.to("cpu", torch.float16).save_pretrained(shop.folder / MODEL)


STAGES: dict[str, Callable[[Workshop], None]] = {
    "flow": build_flow,
    "flow_few": build_flow_few,
    "pack_flow": build_pack_flow,
}

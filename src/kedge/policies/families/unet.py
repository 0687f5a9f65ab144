"""What every family on a UNet shares, Stable Diffusion and SDXL alike: text, denoiser and guidance put together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import DiffusionPipeline

from kedge.policies.denoiser import Denoiser, Guided, UNet
from kedge.policies.families.backbones import UNETS
from kedge.policies.latent import LatentPolicy
from kedge.policies.latent_space import unet_space
from kedge.policies.settings import LoraConfig
from kedge.policies.steps import Step
from kedge.policies.text import ClipText, Encode, TwoClipTexts


def embeds_guidance(pipeline: DiffusionPipeline) -> bool:
    """Whether the UNet was distilled with ω as an input."""
    return UNETS.takes_guidance(pipeline.unet.config)


def refuse_consistency(pipeline: DiffusionPipeline) -> None:
    """Raises ValueError for a UNet that was distilled with ω as an input: it is sampled as a consistency model only."""
    if embeds_guidance(pipeline):
        raise ValueError("this is a consistency model (its UNet embeds the guidance): use model.kind=lcm")


def unet_policy(
    pipeline: DiffusionPipeline,
    schedule: Mapping[int, Step],
    *,
    guidance: float,
    lora: LoraConfig | None,
    size: int | tuple[int, int] | None,
) -> LatentPolicy:
    """A policy on ``pipeline``'s UNet: ω is embedded where the UNet takes it, else classifier-free guidance.

    Args:
        schedule: the family's steps, K to 1.
        size: of the pictures in pixels; None is the model's own.

    Raises:
        ValueError: if the UNet does not fit the text encoders, or for a size that the VAE cannot draw.
    """
    network = pipeline.unet
    guided = guidance != 0 and not embeds_guidance(pipeline)
    space = unet_space(pipeline, network)
    _, height, width = space.shape(size)
    text: Encode
    if hasattr(pipeline, "text_encoder_2"):
        pixels = (height * space.factor, width * space.factor)
        text = TwoClipTexts(pipeline, network.device, unconditional=guided, pixels=pixels)
    else:
        text = ClipText(pipeline, network.device, unconditional=guided)
    _check_width(pipeline)
    _check_decoding(pipeline)
    denoiser: Denoiser = UNet(network, _embed_guidance(pipeline, guidance))
    return LatentPolicy(
        pipeline,
        UNETS,
        text=text,
        denoiser=Guided(denoiser, guidance) if guided else denoiser,
        schedule=schedule,
        guidance=guidance,
        lora=lora,
        size=size,
        space=space,
    )


def _embed_guidance(pipeline: DiffusionPipeline, omega: float) -> torch.Tensor | None:
    if not embeds_guidance(pipeline):
        return None
    network = pipeline.unet
    embedding: torch.Tensor = pipeline.get_guidance_scale_embedding(
        torch.tensor([float(omega)]), network.config.time_cond_proj_dim
    )
    return embedding.to(network.device, network.dtype)


def _check_decoding(pipeline: DiffusionPipeline) -> None:
    """Refuse a VAE whose config asks for what is not done when these models' pictures are decoded.

    Raises:
        ValueError: naming the key.
    """
    config = pipeline.vae.config
    for key in ("shift_factor", "latents_mean", "latents_std"):
        if config.get(key):
            raise ValueError(
                f"vae/config.json sets {key}, which Stable Diffusion's and SDXL's latents do not have: this VAE "
                "belongs to another kind of model"
            )
    if config.latent_channels != pipeline.unet.config.in_channels:
        raise ValueError(
            f"the VAE's latents have {config.latent_channels} channels, the UNet's {pipeline.unet.config.in_channels}: "
            "they do not belong together (model.vae and model.name)"
        )


def _check_width(pipeline: DiffusionPipeline) -> None:
    encoders = [getattr(pipeline, name, None) for name in UNETS.text_encoders]
    width = sum(encoder.config.hidden_size for encoder in encoders if encoder is not None)
    expected = pipeline.unet.config.cross_attention_dim
    if width != expected:
        raise ValueError(
            f"the UNet reads text of width {expected}, but the text encoders write {width}: model.unet and model.name "
            "do not belong together"
        )

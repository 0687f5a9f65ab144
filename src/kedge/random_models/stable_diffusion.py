"""Stable Diffusion 1.5 and 2.1 in diffusers' format: LCM, diffusion, SD-Turbo."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DEISMultistepScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    SchedulerMixin,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor

from kedge.random_models.scale import Scale
from kedge.random_models.text_encoders import clip_l, clip_vocabulary, openclip_h
from kedge.random_models.tokenizers import clip_tokenizer

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def sd15_lcm(scale: Scale) -> DiffusionPipeline:
    """``SimianLuo/LCM_Dreamshaper_v7``: 768 px, guidance embedding."""
    unet = sd15_unet(scale, latent=96, time_cond_proj_dim=256)
    return LatentConsistencyModelPipeline(unet=unet, scheduler=noise_schedule(LCMScheduler), **_sd15_parts(scale))


def sd15(scale: Scale) -> DiffusionPipeline:
    """``Lykon/dreamshaper-7``: 512 px."""
    scheduler = noise_schedule(DEISMultistepScheduler, timestep_spacing="leading", steps_offset=1)
    return StableDiffusionPipeline(unet=sd15_unet(scale), scheduler=scheduler, **_sd15_parts(scale))


def sd_turbo(scale: Scale) -> DiffusionPipeline:
    """``stabilityai/sd-turbo``: Stable Diffusion 2.1, 512 px."""
    text_encoder = openclip_h(scale)
    channels = _channels(scale)
    unet = UNet2DConditionModel(
        sample_size=scale.latent(64, 8),
        block_out_channels=channels,
        layers_per_block=scale.layers(2),
        cross_attention_dim=text_encoder.config.hidden_size,
        attention_head_dim=tuple(map(scale.heads, channels)),
        use_linear_projection=True,
        norm_num_groups=scale.groups,
    )
    return StableDiffusionPipeline(
        unet=unet,
        scheduler=noise_schedule(EulerDiscreteScheduler, timestep_spacing="trailing", steps_offset=1),
        vae=autoencoder(scale, sample_size=768, scaling_factor=0.18215),
        text_encoder=text_encoder,
        tokenizer=clip_tokenizer(clip_vocabulary(scale), pad="!"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def noise_schedule(cls: type[SchedulerMixin], **settings: Any) -> SchedulerMixin:
    """Stable Diffusion's noise, in a scheduler whose numbers are real also where networks are made without weights."""
    with torch.device("cpu"):
        return cls(**NOISE, **settings)


def sd15_unet(scale: Scale, latent: int = 64, time_cond_proj_dim: int | None = None) -> UNet2DConditionModel:
    """The UNet of Stable Diffusion 1.5: 860 million parameters."""
    return UNet2DConditionModel(
        sample_size=scale.latent(latent, 8),
        block_out_channels=_channels(scale),
        layers_per_block=scale.layers(2),
        cross_attention_dim=scale.channels(768),
        attention_head_dim=8,  # as published: it is the number of heads
        norm_num_groups=scale.groups,
        time_cond_proj_dim=time_cond_proj_dim,
    )


def autoencoder(scale: Scale, **settings: Any) -> AutoencoderKL:
    """The VAE of Stable Diffusion and SDXL: 84 million parameters, 8 times smaller latents."""
    return AutoencoderKL(
        block_out_channels=tuple(map(scale.channels, (128, 256, 512, 512))),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=scale.layers(2),
        norm_num_groups=scale.groups,
        **{"latent_channels": 4, **settings},
    )


def _channels(scale: Scale) -> tuple[int, ...]:
    return tuple(map(scale.channels, (320, 640, 1280, 1280)))


def _sd15_parts(scale: Scale) -> dict[str, Any]:
    return {
        "vae": autoencoder(scale, sample_size=512, scaling_factor=0.18215),
        "text_encoder": clip_l(scale),
        "tokenizer": clip_tokenizer(clip_vocabulary(scale)),
        "safety_checker": _safety_checker(),
        "feature_extractor": CLIPImageProcessor(),
    }


def _safety_checker() -> StableDiffusionSafetyChecker:
    """In the tree as in the published models; Kedge does not load it, so it is small at every scale."""
    tiny = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    return StableDiffusionSafetyChecker(
        CLIPConfig(
            text_config={**tiny, "vocab_size": 8, "bos_token_id": 0, "eos_token_id": 1},
            vision_config=tiny,
            projection_dim=32,
        )
    )

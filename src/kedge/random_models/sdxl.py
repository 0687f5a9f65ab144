"""Stable Diffusion XL in diffusers' format: the base, SDXL-Turbo, and the UNet of its consistency model alone."""

from __future__ import annotations

from typing import Any

from diffusers import (
    DiffusionPipeline,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from kedge.random_models.scale import Scale
from kedge.random_models.stable_diffusion import autoencoder, noise_schedule
from kedge.random_models.text_encoders import clip_l, clip_vocabulary, openclip_g
from kedge.random_models.tokenizers import clip_tokenizer

TIME_IDS, TIME_ID_CHANNELS = 6, 256  # original size, crop, target size; each of them embedded


def sdxl(scale: Scale) -> DiffusionPipeline:
    """``stabilityai/stable-diffusion-xl-base-1.0``: 1024 px, a VAE that needs float32."""
    scheduler = noise_schedule(EulerDiscreteScheduler, timestep_spacing="leading", steps_offset=1)
    return StableDiffusionXLPipeline(unet=sdxl_unet(scale), scheduler=scheduler, **_parts(scale))


def sdxl_turbo(scale: Scale) -> DiffusionPipeline:
    """``stabilityai/sdxl-turbo``: 512 px."""
    scheduler = noise_schedule(EulerAncestralDiscreteScheduler, timestep_spacing="trailing", steps_offset=1)
    return StableDiffusionXLPipeline(unet=sdxl_unet(scale, latent=64), scheduler=scheduler, **_parts(scale))


def sdxl_lcm_unet(scale: Scale) -> UNet2DConditionModel:
    """``latent-consistency/lcm-sdxl``: a UNet with guidance embedding, without the other parts."""
    return sdxl_unet(scale, time_cond_proj_dim=256)


def sdxl_unet(scale: Scale, latent: int = 128, time_cond_proj_dim: int | None = None) -> UNet2DConditionModel:
    """The UNet of SDXL: 2.6 billion parameters."""
    channels = tuple(map(scale.channels, (320, 640, 1280)))
    pooled = scale.channels(1280)
    return UNet2DConditionModel(
        sample_size=scale.latent(latent, 8),
        block_out_channels=channels,
        layers_per_block=scale.layers(2),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=tuple(map(scale.layers, (1, 2, 10))),
        cross_attention_dim=scale.channels(768) + scale.channels(1280),
        attention_head_dim=tuple(map(scale.heads, channels)),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_ID_CHANNELS,
        projection_class_embeddings_input_dim=TIME_IDS * TIME_ID_CHANNELS + pooled,
        norm_num_groups=scale.groups,
        time_cond_proj_dim=time_cond_proj_dim,
    )


def _parts(scale: Scale) -> dict[str, Any]:
    vocabulary = clip_vocabulary(scale)
    return {
        "vae": autoencoder(scale, sample_size=1024, scaling_factor=0.13025, force_upcast=True),
        "text_encoder": clip_l(scale),
        "text_encoder_2": openclip_g(scale),
        "tokenizer": clip_tokenizer(vocabulary),
        "tokenizer_2": clip_tokenizer(vocabulary, pad="!"),
    }

"""Stable Diffusion 3.5 Turbo, Large and Medium, in diffusers' format."""

from __future__ import annotations

from diffusers import DiffusionPipeline, SD3Transformer2DModel, StableDiffusion3Pipeline

from kedge.random_models.flow import SD3_VAE, flow_scheduler, heads, sixteen_channels
from kedge.random_models.scale import Scale
from kedge.random_models.text_encoders import clip_l_projected, clip_vocabulary, openclip_g, t5_xxl
from kedge.random_models.tokenizers import clip_tokenizer, t5_tokenizer


def sd35_large_turbo(scale: Scale) -> DiffusionPipeline:
    """``stabilityai/stable-diffusion-3.5-large-turbo``: 1024 px, 8.1 billion parameters."""
    return _pipeline(scale, layers=38, places=192, double=0)


def sd35_medium_turbo(scale: Scale) -> DiffusionPipeline:
    """``tensorart/stable-diffusion-3.5-medium-turbo``: 2.2 billion, twice as much attention in its first half."""
    return _pipeline(scale, layers=24, places=384, double=13)


def _pipeline(scale: Scale, *, layers: int, places: int, double: int) -> DiffusionPipeline:
    """As many heads as layers; self-attention beside the joint one in the first ``double`` layers."""
    clip, big_clip, t5 = clip_l_projected(scale), openclip_g(scale), t5_xxl(scale)
    vocabulary, depth, head = clip_vocabulary(scale), max(2, scale.layers(layers)), 64 if scale.width == 1 else 16
    transformer = SD3Transformer2DModel(
        sample_size=scale.latent(128, 8),
        num_layers=depth,
        attention_head_dim=head,
        num_attention_heads=heads(scale, layers),
        joint_attention_dim=t5.config.d_model,
        caption_projection_dim=head * heads(scale, layers),
        pooled_projection_dim=clip.config.projection_dim + big_clip.config.projection_dim,
        pos_embed_max_size=places,
        dual_attention_layers=tuple(range(min(double, depth - 1))),
        qk_norm="rms_norm",
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=flow_scheduler(shift=3.0),
        vae=sixteen_channels(scale, SD3_VAE),
        text_encoder=clip,
        tokenizer=clip_tokenizer(vocabulary),
        text_encoder_2=big_clip,
        tokenizer_2=clip_tokenizer(vocabulary, pad="!"),
        text_encoder_3=t5,
        tokenizer_3=t5_tokenizer(t5.config.vocab_size),
    )

"""FLUX.1-schnell in diffusers' format."""

from __future__ import annotations

from diffusers import DiffusionPipeline, FluxPipeline, FluxTransformer2DModel

from kedge.random_models.flow import FLUX_VAE, flow_scheduler, heads, sixteen_channels
from kedge.random_models.scale import Scale
from kedge.random_models.text_encoders import clip_l, clip_vocabulary, t5_xxl
from kedge.random_models.tokenizers import clip_tokenizer, t5_tokenizer

AXES, SMALL_AXES = (16, 56, 56), (8, 12, 12)  # of the rotary embedding, which add up to a head


def flux_schnell(scale: Scale) -> DiffusionPipeline:
    """``black-forest-labs/FLUX.1-schnell``: 1024 px, 11.9 billion parameters, no guidance embedding."""
    clip, t5 = clip_l(scale), t5_xxl(scale)
    axes = AXES if scale.width == 1 else SMALL_AXES
    transformer = FluxTransformer2DModel(
        num_layers=scale.layers(19),
        num_single_layers=scale.layers(38),
        attention_head_dim=sum(axes),
        num_attention_heads=heads(scale, 24),
        joint_attention_dim=t5.config.d_model,
        pooled_projection_dim=clip.config.hidden_size,
        guidance_embeds=False,
        axes_dims_rope=axes,
    )
    return FluxPipeline(
        scheduler=flow_scheduler(shift=1.0),
        vae=sixteen_channels(scale, FLUX_VAE),
        text_encoder=clip,
        tokenizer=clip_tokenizer(clip_vocabulary(scale)),
        text_encoder_2=t5,
        tokenizer_2=t5_tokenizer(t5.config.vocab_size),
        transformer=transformer,
    )

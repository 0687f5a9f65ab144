"""SANA-Sprint in diffusers' format: a linear transformer, Gemma, and an autoencoder that shrinks 32 times."""

from __future__ import annotations

from diffusers import AutoencoderDC, DiffusionPipeline, SanaSprintPipeline, SanaTransformer2DModel, SCMScheduler

from kedge.random_models.scale import Scale
from kedge.random_models.text_encoders import gemma_2b
from kedge.random_models.tokenizers import gemma_tokenizer


def sana_sprint(scale: Scale) -> DiffusionPipeline:
    """``Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers``: 1024 px."""
    text_encoder = gemma_2b(scale)
    inner = scale.channels(2240, multiple=160)  # 70 heads of 32, 20 of 112; at least 5 heads, 10 of 16
    heads = 20 if scale.width == 1 else 10
    transformer = SanaTransformer2DModel(
        num_attention_heads=inner // 32,
        attention_head_dim=32,
        num_layers=scale.layers(20),
        num_cross_attention_heads=heads,
        cross_attention_head_dim=inner // heads,
        cross_attention_dim=inner,
        caption_channels=text_encoder.config.hidden_size,
        sample_size=scale.latent(32, 32),
        guidance_embeds=True,
        guidance_embeds_scale=0.1,
        qk_norm="rms_norm_across_heads",
        timestep_scale=1000.0,
    )
    return SanaSprintPipeline(
        tokenizer=gemma_tokenizer(text_encoder.config.vocab_size),
        text_encoder=text_encoder,
        vae=_autoencoder(scale),
        transformer=transformer,
        scheduler=SCMScheduler(),
    )


def _autoencoder(scale: Scale) -> AutoencoderDC:
    """DC-AE f32c32: 312 million parameters."""
    narrowest = scale.channels(128, multiple=8)  # a stage reads four times what the one before writes, in whole parts
    channels = tuple(narrowest * part for part in (1, 2, 4, 4, 8, 8))
    kinds = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
    scales: tuple[tuple[int, ...], ...] = ((), (), (), (5,), (5,), (5,))
    return AutoencoderDC(
        latent_channels=32,
        attention_head_dim=32,
        encoder_block_types=kinds,
        decoder_block_types=kinds,
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        encoder_layers_per_block=tuple(map(scale.layers, (2, 2, 2, 3, 3, 3))),
        decoder_layers_per_block=(scale.layers(3),) * 6,
        encoder_qkv_multiscales=scales,
        decoder_qkv_multiscales=scales,
        upsample_block_type="interpolate",
        downsample_block_type="Conv",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    )

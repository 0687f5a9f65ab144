"""Z-Image-Turbo in diffusers' format."""

from __future__ import annotations

import torch
from diffusers import DiffusionPipeline, ZImagePipeline, ZImageTransformer2DModel
from transformers import Qwen3Model

from kedge.random_models.flow import FLUX_VAE, flow_scheduler, heads, sixteen_channels
from kedge.random_models.scale import Scale
from kedge.random_models.text_encoders import qwen3_4b
from kedge.random_models.tokenizers import qwen_tokenizer

AXES, SMALL_AXES = [32, 48, 48], [8, 12, 12]  # of the rotary embedding, which add up to a head


def z_image_turbo(scale: Scale) -> DiffusionPipeline:
    """``Tongyi-MAI/Z-Image-Turbo``: 1024 px, 6.2 billion parameters."""
    encoder = Qwen3Model(qwen3_4b(scale, least_layers=2)).eval()  # its last layer but one is read
    axes, count = (AXES, 30) if scale.width == 1 else (SMALL_AXES, heads(scale, 30))
    transformer = ZImageTransformer2DModel(
        dim=count * sum(axes),
        n_layers=scale.layers(30),
        n_refiner_layers=scale.layers(2),
        n_heads=count,
        n_kv_heads=count,
        cap_feat_dim=encoder.config.hidden_size,
        axes_dims=axes,
        axes_lens=[1536, 512, 512],
    )
    for token in (transformer.x_pad_token, transformer.cap_pad_token):
        torch.nn.init.normal_(token, std=0.02)
    return ZImagePipeline(
        scheduler=flow_scheduler(shift=3.0),
        vae=sixteen_channels(scale, FLUX_VAE),
        text_encoder=encoder,
        tokenizer=qwen_tokenizer(encoder.config.vocab_size),
        transformer=transformer,
    )

"""FLUX.2 [klein] in diffusers' format."""

from __future__ import annotations

from diffusers import AutoencoderKLFlux2, DiffusionPipeline, Flux2KleinPipeline, Flux2Transformer2DModel
from transformers import Qwen3ForCausalLM

from kedge.random_models.flow import flow_scheduler, heads
from kedge.random_models.scale import Scale
from kedge.random_models.text_encoders import qwen3_4b
from kedge.random_models.tokenizers import qwen_tokenizer

LAYERS_READ = (9, 18, 27)


def flux2_klein_4b(scale: Scale) -> DiffusionPipeline:
    """``black-forest-labs/FLUX.2-klein-4B``: 1024 px, 3.9 billion parameters, distilled."""
    encoder = Qwen3ForCausalLM(qwen3_4b(scale, least_layers=max(LAYERS_READ))).eval()
    axes = (32,) * 4 if scale.width == 1 else (8,) * 4
    transformer = Flux2Transformer2DModel(
        num_layers=scale.layers(5),
        num_single_layers=scale.layers(20),
        attention_head_dim=sum(axes),
        num_attention_heads=heads(scale, 24),
        joint_attention_dim=len(LAYERS_READ) * encoder.config.hidden_size,
        axes_dims_rope=axes,
        guidance_embeds=False,
    )
    return Flux2KleinPipeline(
        scheduler=flow_scheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_autoencoder(scale),
        text_encoder=encoder,
        tokenizer=qwen_tokenizer(encoder.config.vocab_size),
        transformer=transformer,
        is_distilled=True,
    )


def _autoencoder(scale: Scale) -> AutoencoderKLFlux2:
    """32 channels, with statistics of their patches that are neither 0 nor 1, as a trained one's are."""
    vae = AutoencoderKLFlux2(
        block_out_channels=tuple(map(scale.channels, (128, 256, 512, 512))),
        layers_per_block=scale.layers(2),
        norm_num_groups=scale.groups,
        sample_size=scale.size or 1024,
    )
    vae.bn.running_mean.normal_(std=0.3)
    vae.bn.running_var.uniform_(1.5, 4.0)
    return vae.eval()

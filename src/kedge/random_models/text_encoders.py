"""The text encoders of the supported models, at any scale."""

from __future__ import annotations

from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    Qwen3Config,
    T5Config,
    T5EncoderModel,
)

from kedge.random_models.scale import Scale
from kedge.random_models.tokenizers import CLIP_WORDS, GEMMA_WORDS, QWEN_WORDS, T5_WORDS

CLIP_VOCABULARY = 49408


def clip_vocabulary(scale: Scale) -> int:
    """Number of token ids: CLIP's own at width 1, else no more than needed."""
    return CLIP_VOCABULARY if scale.width == 1 else CLIP_WORDS


def clip_l(scale: Scale) -> CLIPTextModel:
    """CLIP ViT-L/14's text encoder: Stable Diffusion 1.5 and the first of SDXL."""
    return CLIPTextModel(_clip(scale, width=768, depth=12, activation="quick_gelu", projection=768)).eval()


def openclip_h(scale: Scale) -> CLIPTextModel:
    """OpenCLIP ViT-H/14's text encoder without its last layer: Stable Diffusion 2 and SD-Turbo."""
    return CLIPTextModel(_clip(scale, width=1024, depth=23, activation="gelu", projection=512)).eval()


def openclip_g(scale: Scale) -> CLIPTextModelWithProjection:
    """OpenCLIP ViT-bigG/14's text encoder: the second of SDXL."""
    config = _clip(scale, width=1280, depth=32, activation="gelu", projection=1280)
    return CLIPTextModelWithProjection(config).eval()


def clip_l_projected(scale: Scale) -> CLIPTextModelWithProjection:
    """CLIP ViT-L/14's with its projection: the first of Stable Diffusion 3."""
    config = _clip(scale, width=768, depth=12, activation="quick_gelu", projection=768)
    return CLIPTextModelWithProjection(config).eval()


def t5_xxl(scale: Scale) -> T5EncoderModel:
    """T5 1.1 XXL's encoder: 4.8 billion parameters; FLUX.1 and Stable Diffusion 3."""
    heads = scale.channels(64, multiple=1)
    config = T5Config(
        vocab_size=32128 if scale.width == 1 else T5_WORDS,
        d_model=scale.channels(4096),
        d_kv=64 if scale.width == 1 else 16,
        d_ff=scale.channels(10240),
        num_layers=scale.layers(24),
        num_heads=heads,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
        use_cache=False,
    )
    return T5EncoderModel(config).eval()


def qwen3_4b(scale: Scale, least_layers: int) -> Qwen3Config:
    """Qwen3 4B: Z-Image and FLUX.2 [klein].

    Args:
        least_layers: that somebody reads.
    """
    hidden = scale.channels(2560)
    return Qwen3Config(
        vocab_size=151936 if scale.width == 1 else QWEN_WORDS,
        hidden_size=hidden,
        intermediate_size=scale.channels(9728),
        num_hidden_layers=max(least_layers, scale.layers(36)),
        num_attention_heads=32 if scale.width == 1 else 4,
        num_key_value_heads=8 if scale.width == 1 else 2,
        head_dim=128 if scale.width == 1 else 8,
        max_position_embeddings=40960,
        rope_theta=1000000,
        tie_word_embeddings=True,
    )


def gemma_2b(scale: Scale) -> Gemma2Model:
    """Gemma 2 2B: the text encoder of SANA."""
    hidden = scale.channels(2304)
    config = Gemma2Config(
        vocab_size=256000 if scale.width == 1 else GEMMA_WORDS,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=scale.layers(26),
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=scale.channels(256, multiple=8),
    )
    return Gemma2Model(config).eval()


def _clip(scale: Scale, *, width: int, depth: int, activation: str, projection: int) -> CLIPTextConfig:
    hidden, vocabulary = scale.channels(width), clip_vocabulary(scale)
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=max(2, scale.layers(depth)),  # SDXL reads the last layer but one
        num_attention_heads=scale.heads(hidden),
        projection_dim=scale.channels(projection),
        max_position_embeddings=77,
        hidden_act=activation,
        bos_token_id=0,
        eos_token_id=2,  # as published: it stands for the highest id
        pad_token_id=1,
    )

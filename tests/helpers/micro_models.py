"""Stable Diffusion folders with random weights, in the true layout and every part present, small enough for tests."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

NOISE_SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def save_micro_lcm(folder: Path, seed: int = 0) -> Path:
    """A latent consistency model: 8×8×4 latents, 64-pixel images, guidance embedding."""
    torch.manual_seed(seed)
    pipeline = LatentConsistencyModelPipeline(
        unet=_unet(time_cond_proj_dim=32),
        scheduler=LCMScheduler(**NOISE_SCHEDULE),
        **_shared_parts(),
    )
    pipeline.save_pretrained(folder)
    return folder


def save_micro_diffusion(folder: Path, seed: int = 0) -> Path:
    """A diffusion model of the same size, with Stable Diffusion's scheduler settings."""
    torch.manual_seed(seed)
    pipeline = StableDiffusionPipeline(
        unet=_unet(time_cond_proj_dim=None),
        scheduler=DDIMScheduler(**NOISE_SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        **_shared_parts(),
    )
    pipeline.save_pretrained(folder)
    return folder


def _unet(time_cond_proj_dim: int | None) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
        time_cond_proj_dim=time_cond_proj_dim,
    )


def _shared_parts() -> dict[str, object]:
    return {
        "vae": AutoencoderKL(
            block_out_channels=(8, 8, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=64,
        ),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=1000,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=77,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        ).eval(),
        "tokenizer": _tokenizer(),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def _tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with single bytes and a handful of merges for its vocabulary."""
    alphabet = sorted(ByteLevel.alphabet())
    merges = [("c", "a"), ("ca", "t</w>"), ("f", "o"), ("fo", "x</w>"), ("t", "he</w>"), ("h", "e</w>")]
    words = ["<|startoftext|>", "<|endoftext|>", *alphabet, *(letter + "</w>" for letter in alphabet)]
    words += [word for word in dict.fromkeys("".join(pair) for pair in sorted(merges, key=lambda m: len("".join(m))))]
    vocab = {word: i for i, word in enumerate(words)}
    merges.sort(key=lambda pair: len("".join(pair)))
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)

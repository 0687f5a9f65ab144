"""The architectures of the emoji world: Stable Diffusion's parts, each some hundred times smaller."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

from diffusers import AutoencoderKL, DDIMScheduler, LCMScheduler, UNet2DConditionModel
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from kedge.worlds.emoji import captions
from kedge.worlds.emoji.atlas import ANIMAL_NAMES
from kedge.worlds.emoji.scenes import SIDE

TOKENS = 16  # the longest caption has 9 words, and two tokens mark begin and end
LATENT_CHANNELS, LATENT_SIDE = 16, SIDE // 4
TEXT_WIDTH = 128
GUIDANCE_WIDTH = 64  # of the embedding of ω
NOISE_SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,
    "prediction_type": "v_prediction",  # x̃0 = αx − σv is well-conditioned at every t: a small network learns faster
}


def make_vae() -> AutoencoderKL:
    """32 × 32 pixels ↔ 16 × 8 × 8 latents."""
    return AutoencoderKL(
        block_out_channels=(24, 48, 96),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=12,
        sample_size=SIDE,
    )


def make_unet(*, guidance_embedding: bool = False) -> UNet2DConditionModel:
    """The denoiser; with ``guidance_embedding`` it takes ω as LCM's do."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(96, 128),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=(3, 4),  # diffusers reads this as the number of heads
        norm_num_groups=16,
        time_cond_proj_dim=GUIDANCE_WIDTH if guidance_embedding else None,
    )


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A CLIP text transformer, trained together with the diffusion model."""
    return CLIPTextModel(CLIPTextConfig(**_text_config(tokenizer, layers=3)))


def make_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """The CLIP behind every learned reward."""
    vision = {
        "image_size": SIDE,
        "patch_size": 4,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "hidden_act": "gelu",
    }
    text = _text_config(tokenizer, layers=3)
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))


def _text_config(tokenizer: CLIPTokenizer, layers: int) -> dict[str, int]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 2 * TEXT_WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": TOKENS,
        "hidden_act": "gelu",
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": TEXT_WIDTH,
    }


def make_image_processor() -> CLIPImageProcessor:
    """CLIP's preprocessing at 32 pixels."""
    return CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})


def make_scheduler(kind: str) -> DDIMScheduler | LCMScheduler:
    """``ddim`` or ``lcm``, over Stable Diffusion's noise schedule."""
    if kind == "ddim":
        return DDIMScheduler(**NOISE_SCHEDULE, timestep_spacing="trailing")
    return LCMScheduler(**NOISE_SCHEDULE, original_inference_steps=50)


def words() -> list[str]:
    """Every word that a caption may hold."""
    texts = [*captions.BACKGROUNDS, *captions.ACTIVITIES, *captions.POSITIONS, "a an one two and the"]
    texts += [*ANIMAL_NAMES, *map(captions.plural, ANIMAL_NAMES)]
    return sorted(set(" ".join(texts).split()))


def merged(symbols: Sequence[str], merges: dict[tuple[str, str], int]) -> list[str]:
    """Byte-pair encoding of one word: the earliest rule that applies, until none does."""
    pieces = list(symbols)
    while True:
        pairs = list(itertools.pairwise(pieces))
        rules = list(filter(merges.__contains__, pairs))
        if not rules:
            return pieces
        i = pairs.index(min(rules, key=merges.__getitem__))
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


def make_tokenizer(folder: Path) -> CLIPTokenizer:
    """A CLIP tokenizer whose byte-pair merges make one token of each word; other words fall to pieces, none is lost."""
    symbols = list(map(chr, (*range(33, 127), *range(161, 173), *range(174, 256))))
    symbols += map(chr, range(256, 512 - len(symbols)))
    merges: dict[tuple[str, str], int] = {}
    for word in words():
        while len(pieces := merged([*word[:-1], f"{word[-1]}</w>"], merges)) > 1:
            merges[pieces[0], pieces[1]] = len(merges)
    tokens = [*symbols, *map("{}</w>".format, symbols), *map("".join, merges)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = dict(zip(tokens, itertools.count(), strict=False))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=TOKENS)
    tokenizer.save_pretrained(folder)
    return tokenizer

"""Published sizes of the vision-language models behind rewards, to plan before their files are here."""

from __future__ import annotations

from transformers import Qwen2VLConfig, Qwen3VLConfig

from kedge.rewards.patches import PatchPreprocess

TOKENS = {
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "image_token_id": 151655,
    "video_token_id": 151656,
}
QWEN3_PATCHES = PatchPreprocess(patch=16, smallest=256**2, largest=4096**2, mean=(0.5,) * 3, std=(0.5,) * 3)


def qwen3_vl_2b() -> Qwen3VLConfig:
    """Qwen/Qwen3-VL-2B-Instruct."""
    vision = {
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_heads": 16,
        "out_hidden_size": 2048,
        "deepstack_visual_indexes": [5, 11, 17],
    }
    text = {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5e6,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        },
        "tie_word_embeddings": True,
    }
    return Qwen3VLConfig(vision_config=vision, text_config=text, tie_word_embeddings=True, **TOKENS)


def qwen2_vl_7b(vocabulary: int) -> Qwen2VLConfig:
    """Qwen/Qwen2-VL-7B-Instruct, with another number of words."""
    text = {
        "vocab_size": vocabulary,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }
    return Qwen2VLConfig(vision_config={}, text_config=text, **TOKENS)

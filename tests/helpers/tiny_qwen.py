"""Folders of vision-language models of Qwen's kind, tiny and random: tokenizer, chat template, configs, processor.

Only standard library here, so that the environments of reference packages can write the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# The answers, and what comes often in English, so that a long text is not as many tokens as letters.
_PAIRS = (
    "Y e,Ye s,N o,"
    "h e,Ġ t,Ġ a,Ġ s,a l,Ġt he,i n,o n,e n,e s,* *,t i,m a,Ġ o,Ġ c,e r,i t,n d,p r,Ġ b,Ġ i,g e,h o,u l,Ġ in,"
    "Ġa nd,in g,en t,ma ge,Ġi mage,l e,a t,o r,u al,Ġ w,e d,i s,p t,r i,Ġ **,Ġ pr,Ġs u,Ġs ho,on s,ul d,"
    "Ġsho uld,. Ċ,c e,c t,o m,Ġ T,: **,a r,e x,i c,l o,r e,Ġ d,es s,ti c,Ġo f,Ġc on,it y,Ġb e,ĠT he,a n,"
    "m ent,Ġo r,at e,om pt,ex t,a s,e t,e ct,l i,v i,v al,Ġ e,Ġ f,Ġ n,ti on,it h,Ġpr ompt,Ġcon t,val u,b j,"
    "e l,o l,s s,u r,u t,Ġ C,Ġ ma,he r,Ġa c,Ġs c,al l,Ġw ith,an ce,valu ate,bj ect,E valuate,a ti,c h,c ri,"
    "g n,p e,r o,t y,v er,"
)
MERGES = tuple(_PAIRS.strip(",").split(","))
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WIDTH = 64


def symbols() -> list[str]:
    """The 256 printable stand-ins for bytes."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters, spare = {}, 256
    for byte in range(256):
        letters[byte] = byte if byte in printable else spare
        spare += byte not in printable
    return [chr(letters[byte]) for byte in range(256)]


def write_words(folder: Path) -> dict[str, int]:
    """A byte-level tokenizer with Qwen's special tokens and a chat template; returns the special tokens' ids."""
    vocabulary = {token: i for i, token in enumerate([*symbols(), *("".join(merge.split()) for merge in MERGES)])}
    ids = {token: len(vocabulary) + i for i, token in enumerate(SPECIAL)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = {str(i): {"content": token, **flags} for token, i in ids.items()}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "fuse_unk": False}
    model |= {"end_of_word_suffix": "", "byte_fallback": False, "vocab": vocabulary, "merges": list(MERGES)}
    whole = {"version": "1.0", "truncation": None, "padding": None, "normalizer": {"type": "NFC"}}
    whole |= {"added_tokens": [{"id": i, "content": token, **flags} for token, i in ids.items()]}
    whole |= {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]}}
    whole |= {"post_processor": byte_level, "decoder": byte_level, "model": model}
    config = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added, "pad_token": "<|endoftext|>"}
    config |= {"eos_token": "<|im_end|>", "bos_token": None, "unk_token": None, "chat_template": TEMPLATE}
    config |= {"additional_special_tokens": list(SPECIAL[1:]), "model_max_length": 32768, "add_prefix_space": False}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(MERGES))
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return ids


def write_processor(folder: Path, patch: int = 14, smallest: int = 56 * 56, largest: int = 112 * 112) -> None:
    """What the published folders say about pictures."""
    middle = [0.5] * 3 if patch == 16 else None
    settings = {"min_pixels": smallest, "max_pixels": largest, "patch_size": patch, "temporal_patch_size": 2}
    settings |= {"merge_size": 2, "image_processor_type": "Qwen2VLImageProcessor"}
    settings |= {"image_mean": middle or [0.48145466, 0.4578275, 0.40821073]}
    settings |= {"image_std": middle or [0.26862954, 0.26130258, 0.27577711]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


def config(kind: str, ids: dict[str, int], vocabulary: int) -> dict[str, Any]:
    """``config.json`` of a tiny model, as transformers 5 writes it."""
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    text: dict[str, Any] = {"hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": vocabulary, "rms_norm_eps": 1e-6}
    text |= {"bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"], "rope_parameters": rope}
    vision: dict[str, Any] = {"depth": 2, "num_heads": 2, "spatial_merge_size": 2, "temporal_patch_size": 2}
    if kind == "qwen2_vl":
        vision |= {"embed_dim": 32, "hidden_size": WIDTH, "mlp_ratio": 2, "patch_size": 14}
    elif kind == "qwen2_5_vl":
        vision |= {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": WIDTH, "patch_size": 14}
        vision |= {"window_size": 56, "fullatt_block_indexes": [1]}
    else:
        vision |= {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": WIDTH, "patch_size": 16}
        vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}
        text |= {"head_dim": 16, "rope_parameters": {**rope, "mrope_interleaved": True}}
    return {
        "model_type": kind,
        "text_config": text,
        "vision_config": vision,
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": vocabulary - 1,
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }

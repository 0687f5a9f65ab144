"""Reward models at random weights and tiny sizes, in the published file formats: what tests load.

Every weight is drawn wide (the default initialisations leave cosines near zero and hide mistakes).
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    BertConfig,
    BertModel,
    BlipConfig,
    BlipForConditionalGeneration,
    CLIPConfig,
    CLIPModel,
)

from helpers import tiny_qwen
from kedge.rewards.aesthetic import LinearHead, save_head
from kedge.rewards.blip import BlipNetwork, projections, to_published
from kedge.rewards.hpsv3 import HPSv3Network
from kedge.rewards.hpsv3 import to_published as to_published_hpsv3
from kedge.rewards.image_reward import to_published as image_reward_to_published
from kedge.rewards.openclip import save_open_clip

WORDS = ("a", "an", "animal", "and", "cat", "dog", "fox", "in", "snow", "the", "two", "riding", "bike", "photo", "of")
SIZE = 32
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SEEN = {"image_size": SIZE, "patch_size": 8}


def randomise(module: nn.Module, seed: int, std: float = 0.1) -> nn.Module:
    """Every parameter ~ N(0, std²), norms' weights around 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            draw = std * torch.randn(parameter.shape, generator=generator)
            around = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.copy_(around + draw)
    return module.eval()


def write_clip_words(folder: Path) -> int:
    """A CLIP tokenizer that knows letters and a few words; returns the size of its vocabulary."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    vocab: list[str] = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[str] = []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            merge, joined = f"{parts[0]} {parts[1]}", parts[0] + parts[1]
            if merge not in merges:
                merges.append(merge)
                if joined not in vocab:
                    vocab.append(joined)
            parts = [joined, *parts[2:]]
    vocab += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocab)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    return len(vocab)


def clip_config(vocab_size: int, act: str = "quick_gelu") -> CLIPConfig:
    text = {
        "vocab_size": vocab_size,
        **TINY,
        "max_position_embeddings": 16,
        "hidden_act": act,
        "bos_token_id": vocab_size - 2,
        "eos_token_id": vocab_size - 1,
        "pad_token_id": vocab_size - 1,
    }
    vision = {**TINY, **SEEN, "hidden_act": act}
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=24, logit_scale_init_value=4.6052)


def write_clip(folder: Path, seed: int = 0) -> Path:
    """A transformers CLIP folder: config, weights, tokenizer, image processor."""
    config = clip_config(write_clip_words(folder))
    model = randomise(CLIPModel(config), seed)
    with torch.no_grad():
        model.logit_scale.fill_(4.6052)
    model.save_pretrained(folder)
    processor = {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def write_aesthetic(folder: Path, seed: int = 1) -> Path:
    """A head file with its CLIP beside it."""
    write_clip(folder / "clip", seed)
    head = randomise(LinearHead(24), seed)
    file = folder / "sac+logos+ava1-l14-linearMSE.pth"
    save_head(head, file)
    return file


def write_hps(folder: Path, seed: int = 2, dtype: torch.dtype = torch.float16, version: str = "v2") -> Path:
    """An open_clip checkpoint as HPSv2 was published, with its architecture and tokenizer beside it."""
    config = clip_config(write_clip_words(folder), act="gelu")
    file = folder / f"HPS_{version}_compressed.pt"
    save_open_clip(randomise(CLIPModel(config), seed), file, dtype)
    return file


def write_bert_words(folder: Path) -> int:
    """A BERT tokenizer that knows letters and a few words; returns the size of its vocabulary."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters), *WORDS]
    vocab += ["[DEC]", "[ENC]"]
    vocab = list(dict.fromkeys(vocab))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocab))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return len(vocab)


def blip_config(vocab_size: int) -> BlipConfig:
    vision = {**TINY, **SEEN, "layer_norm_eps": 1e-6}
    text = {
        "vocab_size": vocab_size,
        **TINY,
        "max_position_embeddings": 40,
        "bos_token_id": vocab_size - 2,
        "sep_token_id": 3,
        "eos_token_id": 3,
    }
    return BlipConfig(vision_config=vision, text_config=text, image_text_hidden_size=16)


def write_blip(folder: Path, seed: int = 3) -> Path:
    """BLIP's pre-training checkpoint in the published layout."""
    config = blip_config(write_bert_words(folder))
    heads = {**projections(config), "itm_head": nn.Linear(config.text_config.hidden_size, 2)}
    network = randomise(BlipNetwork(config, heads), seed)
    config.save_pretrained(folder)
    torch.save({"model": to_published(network.state_dict())}, folder / "model_large.pth")
    return folder / "model_large.pth"


def write_image_reward(folder: Path, seed: int = 4) -> Path:
    """An ImageReward checkpoint in the published layout."""
    config = blip_config(write_bert_words(folder))
    heads = {**projections(config), "mlp": LinearHead(config.text_config.hidden_size)}
    network = randomise(BlipNetwork(config, heads), seed)
    config.save_pretrained(folder)
    torch.save(image_reward_to_published(network), folder / "ImageReward.pt")
    return folder / "ImageReward.pt"


def write_bert(folder: Path, seed: int = 5) -> Path:
    """A BERT for BERTScore."""
    config = BertConfig(
        vocab_size=write_bert_words(folder),
        **TINY,
        max_position_embeddings=40,
    )
    randomise(BertModel(config), seed).save_pretrained(folder)
    return folder


def write_vqa(folder: Path, seed: int = 7, kind: str = "qwen3_vl") -> Path:
    """A vision-language model of one of Qwen's kinds."""
    ids = tiny_qwen.write_words(folder)
    config = tiny_qwen.config(kind, ids, 420)
    tiny_qwen.write_processor(folder, patch=config["vision_config"]["patch_size"])
    model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**config))
    randomise(model, seed).save_pretrained(folder)
    return folder


def write_hpsv3(folder: Path, seed: int = 8) -> Path:
    """HPSv3's file in the published layout, with its words beside it."""
    words = folder / "words"
    ids = tiny_qwen.write_words(words)
    tiny_qwen.write_processor(words)
    (words / "config.json").write_text(json.dumps(tiny_qwen.config("qwen2_vl", ids, 420)))
    network = randomise(HPSv3Network(AutoConfig.from_pretrained(words)), seed)
    state = to_published_hpsv3(network.state_dict())
    save_file({**state, "lm_head.weight": state["model.embed_tokens.weight"].clone()}, folder / "HPSv3.safetensors")
    return folder / "HPSv3.safetensors"


def write_captioner(folder: Path, seed: int = 6) -> Path:
    """A BLIP that captions (gibberish)."""
    config = blip_config(write_bert_words(folder))
    randomise(BlipForConditionalGeneration(config), seed).save_pretrained(folder)
    processor = {"size": {"height": SIZE, "width": SIZE}, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def pictures(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    """``[B, 3, H, W]`` in [0, 1]: smooth blobs, noise, and a saturated rectangle that overshoots when resized."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 6, 6, generator=generator)
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    images = (smooth + 0.1 * torch.randn(batch, 3, height, width, generator=generator)).clamp(0, 1)
    images[:, :, height // 4 : height // 2, width // 4 : width // 2] = 1.0
    images[:, :, height // 2 : height // 2 + 3, width // 4 : width // 2] = 0.0
    return images

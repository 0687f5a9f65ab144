"""Tokenizers of the true classes with few words of their own: single bytes, so that every text has tokens.

The other ids of a network's vocabulary belong to words that no text has.
"""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer, GemmaTokenizer, Qwen2Tokenizer, T5Tokenizer

CLIP_WORDS, GEMMA_WORDS = 1024, 512  # the smallest vocabularies that hold all bytes and the special tokens
T5_WORDS, QWEN_WORDS = 256, 512
SPARE = 16  # ids that are left for special tokens
NOWHERE = 0xF0000  # Unicode gives no letters from here on

# As Qwen3's: what the pipelines use of it.
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def clip_tokenizer(vocabulary: int, pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """CLIP's: the special tokens have the highest ids, which the text encoder relies on.

    Args:
        vocabulary: number of ids; 49408 in CLIP.
        pad: what prompts are filled up with: ``!`` in the second encoder of SDXL and in Stable Diffusion 2.
    """
    alphabet = sorted(ByteLevel.alphabet())
    words = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    vocab = dict(zip([*words, *_unused(vocabulary - 2 - len(words))], count(), strict=False))
    vocab |= {"<|startoftext|>": vocabulary - 2, "<|endoftext|>": vocabulary - 1}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77, pad_token=pad)


def gemma_tokenizer(vocabulary: int = GEMMA_WORDS) -> GemmaTokenizer:
    """Gemma's: four special tokens, then the 256 bytes, then ASCII."""
    vocab = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    letters = ["▁", *map(chr, range(33, 127))]
    for word in [*letters, *_unused(vocabulary - SPARE - len(vocab) - len(letters))]:
        vocab[word] = len(vocab)
    return GemmaTokenizer(vocab=vocab, merges=[])


def t5_tokenizer(vocabulary: int) -> T5Tokenizer:
    """T5's: pieces with scores, here ASCII; what it does not know is one token."""
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    for letter in range(33, 127):
        vocab.append((chr(letter), -3.0))
    for word in _unused(vocabulary - SPARE - len(vocab)):
        vocab.append((word, -99.0))
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=512)


def qwen_tokenizer(vocabulary: int) -> Qwen2Tokenizer:
    """Qwen3's: bytes and the tokens of a chat, with its template."""
    letters = sorted(ByteLevel.alphabet())
    vocab = dict(zip([*letters, *_unused(vocabulary - SPARE - len(letters))], count(), strict=False))
    special = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    vocab |= {"<|endoftext|>": len(vocab)}
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=[], model_max_length=4096, chat_template=CHAT)
    tokenizer.add_tokens(special, special_tokens=True)
    return tokenizer


def _unused(number: int) -> list[str]:
    """So many words that no text has."""
    return [chr(NOWHERE + index // 1000) + chr(NOWHERE + index % 1000) for index in range(number)]


def write_as_published(folder: Path) -> None:
    """Give every CLIP tokenizer below ``folder`` the files of its time: ``vocab.json``, ``merges.txt`` and a map."""
    for path in folder.glob("*/tokenizer.json"):
        about = json.loads((path.parent / "tokenizer_config.json").read_text(encoding="utf-8"))
        if about["tokenizer_class"] != "CLIPTokenizer":
            continue
        vocab = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
        special = {}
        for key, value in about.items():
            if key.endswith("_token"):
                special[key] = value
        _write(path.with_name("vocab.json"), json.dumps(vocab, ensure_ascii=False))
        _write(path.with_name("merges.txt"), "#version: 0.2\n")
        _write(path.with_name("special_tokens_map.json"), json.dumps(special))
        path.unlink()


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")

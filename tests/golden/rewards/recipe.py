"""What the golden vectors and the tests build alike: weights, pictures, prompts, vocabularies, all from arithmetic.

Numpy's legacy random stream never changes, so nothing large has to be stored.
"""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SIDE = 56  # of the tiny networks' input
SIZES = ((96, 96), (96, 144), (101, 155), (300, 200), (40, 40))  # square, 3:2, odd, portrait, enlarged
PROMPTS = (
    "a cat with two horns on its head",
    "A fox &amp; a hound &lt;3, &quot;quoted&quot;",
    "“curly quotes” and ‘more’ … don't",
    "emoji 🦊 in the snow ☃️",
    "ｆｕｌｌ ｗｉｄｔｈ, l'été à Zürich, ½ ﬁne",
    "tabs\tand\nnew  lines  ",
    " ".join(f"word{i}" for i in range(200)),
    "",
)
BERT_TEXTS = (
    ("a fox riding a bike", "The image contains a fox riding a bike"),
    ("two dogs playing chess in the snow", "The image contains a cat playing chess"),
    ("dog", "The image contains a dog washing the dishes"),
)


def weight(key: str, shape: list[int], seed: int) -> np.ndarray:
    """The float32 weight of one parameter: wide enough that no mistake hides; norms around 1."""
    stream = np.random.RandomState((zlib.crc32(key.encode()) + seed) % 2**32)
    values = 0.15 * stream.standard_normal(shape if shape else ())
    last = key.rsplit(".", 1)[0].lower()
    around = 1.0 if key.endswith("weight") and ("norm" in last or ".ln_" in f".{last}") else 0.0
    return np.asarray(values + around, dtype=np.float32)


def weights(layout: dict[str, list[int]], seed: int) -> dict[str, np.ndarray]:
    """A whole state dict."""
    return {key: weight(key, shape, seed) for key, shape in layout.items()}


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """``[H, W, 3]`` uint8: noise at all scales, and flat saturated rectangles where a resize overshoots."""
    stream = np.random.RandomState(seed)
    total = np.zeros((height, width, 3), dtype=np.int64)
    weight_sum = 0
    for scale in (32, 16, 8, 4, 2, 1):
        coarse = stream.randint(0, 256, (height // scale + 1, width // scale + 1, 3))
        total += scale * coarse.repeat(scale, 0).repeat(scale, 1)[:height, :width]
        weight_sum += scale
    pixels = (total // weight_sum).astype(np.uint8)
    pixels[height // 8 : height // 3, width // 8 : width // 2] = 255
    pixels[height // 2 : height // 2 + 9, width // 3 :] = (255, 0, 0)
    pixels[height * 3 // 4 :, : width // 5] = 0
    return pixels


def pictures() -> list[np.ndarray]:
    return [picture(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


def byte_symbols() -> list[str]:
    """The 256 printable stand-ins for bytes, in CLIP's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def merges() -> list[str]:
    """The first merges of CLIP's published vocabulary (MIT), one to a line."""
    return (HERE / "clip_merges.txt").read_text(encoding="utf-8").splitlines()


def clip_vocabulary() -> list[str]:
    symbols = byte_symbols()
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), *("".join(line.split()) for line in merges())]
    return [*words, "<|startoftext|>", "<|endoftext|>"]


def write_clip_tokenizer(folder: Path) -> None:
    """CLIP's tokenizer, cut short, as transformers reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: i for i, token in enumerate(clip_vocabulary())}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges()), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))


def write_clip_merges_gz(file: Path) -> Path:
    """The same, as OpenAI's and open_clip's tokenizers read it."""
    with gzip.open(file, "wt", encoding="utf-8") as stream:
        stream.write('"bpe_simple_vocab_16e6.txt#version: 0.2\n' + "\n".join(merges()))
    return file


def write_bert_tokenizer(folder: Path) -> int:
    """A small BERT vocabulary; returns its size."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = ["a", "the", "image", "contains", "fox", "dog", "cat", "riding", "bike", "playing", "chess", "in", "snow"]
    marks = list("&;,.<'\"…-3")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *marks, *letters, *("##" + x for x in letters)]
    vocabulary = [*dict.fromkeys([*vocabulary, *("##" + str(i) for i in range(10)), *words]), "[DEC]", "[ENC]"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return len(vocabulary)
